import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { parse } from 'yaml'
import { Environment } from '../../src/config.ts'
import { buildApp } from '../helper/app.ts'
import { plainEnvironment } from '../server/broker-process.ts'
import { kustomized, type Manifest, rendered, schemaFaults } from './manifests.ts'
import { credentials, freePort, serve } from './program.ts'

const root = join(import.meta.dirname, '../..')
const chart = join(root, 'deploy/helm')
const base = kustomized(join(root, 'deploy/kubernetes'))
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** What a chart is installed with: as little as possible, and all that it has. */
const values = {
  least: { existingSecret: 'broker-secrets' },
  most: {
    existingSecret: 'broker-secrets',
    replicas: 2,
    image: { repository: 'registry.example.com/osb', digest: `sha256:${'a'.repeat(64)}` },
    imagePullSecrets: [{ name: 'pull' }],
    env: { LOG_LEVEL: 'debug', POSTGRESQL_PUBLIC_PORT: 6432, POSTGRESQL_CA_FILE: '/etc/osb-ca/ca.pem' },
    extraVolumes: [{ name: 'ca', secret: { secretName: 'tenants-ca' } }],
    extraVolumeMounts: [{ name: 'ca', mountPath: '/etc/osb-ca', readOnly: true }],
    catalog: parse(readFileSync(join(root, 'catalog.yaml'), 'utf8')),
    service: { port: 8080, annotations: { a: 'b' } },
    ingress: {
      enabled: true,
      className: 'nginx',
      host: 'broker.example.com',
      tlsSecret: 'tls',
      annotations: { c: 'd' }
    },
    networkPolicy: {
      from: [{ namespaceSelector: {} }],
      metricsFrom: [{ podSelector: { matchLabels: { 'app.kubernetes.io/name': 'prometheus' } } }],
      postgresPorts: [5432, 6432],
      egress: [{ ports: [{ port: 4318, protocol: 'TCP' }] }]
    },
    metrics: { enabled: true, port: 9100, serviceMonitor: { enabled: true, labels: { release: 'prometheus' } } },
    podAnnotations: { e: 'f' },
    podLabels: { g: 'h' },
    nodeSelector: { i: 'j' },
    tolerations: [{ operator: 'Exists' }],
    priorityClassName: 'high'
  }
}

/** The chart's manifests. Where neither Helm nor Go is, CI fails, and elsewhere the test says what it has not seen. */
async function chartManifests(t: TestContext, given: object): Promise<Manifest[]> {
  const manifests = await rendered(chart, given)
  if (manifests !== undefined) return manifests
  assert.ok(!process.env.CI, 'CI needs Helm or Go to render the chart')
  t.diagnostic('neither helm nor go is on the path: the chart was not rendered')
  return []
}

test('deploy/kubernetes: the schemas of Kubernetes allow it, and it fits the broker', async (t) => {
  assert.deepEqual(await schemaFaults(base), [])
  assert.deepEqual(await misfits(t, base), [])
})

for (const [what, given] of Object.entries(values)) {
  test(`deploy/helm with the ${what}: the schemas of Kubernetes allow it, and it fits the broker`, async (t) => {
    const manifests = await chartManifests(t, given)
    if (manifests.length === 0) return
    // The schema of a ServiceMonitor is that of an operator, not of Kubernetes.
    assert.deepEqual(await schemaFaults(manifests.filter(({ kind }) => kind !== 'ServiceMonitor')), [])
    assert.deepEqual(await misfits(t, manifests), [])
    const kinds = new Set(manifests.map(({ kind }) => kind))
    assert.equal(
      ['Ingress', 'ConfigMap', 'ServiceMonitor'].every((kind) => kinds.has(kind)),
      what === 'most'
    )
  })
}

test('deploy/helm: another catalog changes the checksum of the pods, and arrives as it was given', async (t) => {
  const manifests = await chartManifests(t, values.most)
  if (manifests.length === 0) return
  const catalog = manifests.find(({ kind }) => kind === 'ConfigMap').data['catalog.yaml']
  assert.deepEqual(parse(catalog), values.most.catalog)
  const checksumOf = (list: Manifest[]) => deploymentOf(list).spec.template.metadata.annotations['checksum/catalog']
  const other = await chartManifests(t, { ...values.most, catalog: { services: [] } })
  assert.match(checksumOf(manifests), /^[0-9a-f]{64}$/)
  assert.notEqual(checksumOf(manifests), checksumOf(other))
})

test('deploy/helm: what Prometheus is told to ask is where the metrics are', async (t) => {
  const manifests = await chartManifests(t, values.most)
  if (manifests.length === 0) return
  const of = (kind: string) => manifests.find((manifest) => manifest.kind === kind)
  const [endpoint] = of('ServiceMonitor').spec.endpoints
  const port = of('Service').spec.ports.find(({ name }: { name: string }) => name === endpoint.port)
  const { ports, env } = broker(manifests)
  const open = ports.find(({ name }: { name: string }) => name === port.targetPort)
  const variables = env.map(({ name, value }: { name: string; value: string }) => [name, value])
  const { OTEL_EXPORTER_PROMETHEUS_PORT, ...telemetry } = Object.fromEntries(variables)
  assert.deepEqual([OTEL_EXPORTER_PROMETHEUS_PORT, open.containerPort], ['9100', 9100])

  const chosen = String(await freePort())
  const osb = [process.execPath, join(root, 'src/cli/osb.js'), 'serve']
  const memory = { BROKER_STORAGE: 'memory', BROKER_CATALOG_PATH: join(root, 'test/fixtures/seed-catalog.yaml') }
  const { OTEL_METRICS_EXPORTER, OTEL_EXPORTER_PROMETHEUS_HOST } = telemetry
  const asked = { OTEL_METRICS_EXPORTER, OTEL_EXPORTER_PROMETHEUS_HOST, OTEL_EXPORTER_PROMETHEUS_PORT: chosen }
  await serve(t, osb, { env: { ...plainEnvironment(), ...credentials, ...memory, BROKER_PORT: '0', ...asked } })
  const reply = await fetch(`http://127.0.0.1:${chosen}${endpoint.path}`)
  assert.equal(reply.status, 200)
  assert.match(await reply.text(), /^# TYPE osb_/m)
})

test('deploy/helm: the network policy opens the metrics to the peers that are named, and to no others', async (t) => {
  const rulesOf = (manifests: Manifest[]) =>
    manifests
      .find(({ kind }) => kind === 'NetworkPolicy')
      .spec.ingress.filter(({ ports }: Manifest) => ports.some(({ port }: Manifest) => port === 'health'))
  const most = await chartManifests(t, values.most)
  if (most.length === 0) return
  const [rule, ...others] = rulesOf(most)
  assert.deepEqual([rule.from, others], [values.most.networkPolicy.metricsFrom, []])
  assert.deepEqual(rulesOf(await chartManifests(t, { ...values.least, metrics: { enabled: true } })), [])
  const closed = { ...values.most, networkPolicy: { metricsFrom: [] } }
  await assert.rejects(rendered(chart, closed), /networkPolicy.metricsFrom must select the pods of Prometheus/)
})

test('deploy/kubernetes: the probes are answered where they ask, with the variables of the container', async (t) => {
  const { env, livenessProbe, readinessProbe } = broker(base)
  const port = String(await freePort())
  const asked = env.filter(({ name }: Manifest) => /^(BROKER_HEALTH|OTEL)_/.test(name))
  const osb = [process.execPath, join(root, 'src/cli/osb.js'), 'serve']
  await serve(t, osb, {
    env: {
      ...plainEnvironment(),
      ...credentials,
      BROKER_STORAGE: 'memory',
      BROKER_CATALOG_PATH: join(root, 'test/fixtures/seed-catalog.yaml'),
      BROKER_PORT: '0',
      ...Object.fromEntries(asked.map(({ name, value }: Manifest) => [name, value])),
      OTEL_EXPORTER_PROMETHEUS_PORT: port
    }
  })
  for (const { httpGet } of [livenessProbe, readinessProbe]) {
    assert.equal((await fetch(`http://127.0.0.1:${port}${httpGet.path}`)).status, 200)
  }
})

test('deploy/helm: a release without its Secret is refused, in words', async () => {
  const refused = await rendered(chart, {}).then(
    (manifests) => manifests === undefined,
    (error: Error) => error.message.includes('existingSecret is the name of a Secret')
  )
  assert.ok(refused)
})

test('deploy/kubernetes and deploy/helm: the version is that of the package, and the catalog the one that ships', () => {
  const { version: chartVersion, appVersion } = parse(readFileSync(join(chart, 'Chart.yaml'), 'utf8'))
  const { images } = parse(readFileSync(join(root, 'deploy/kubernetes/kustomization.yaml'), 'utf8'))
  assert.deepEqual([chartVersion, appVersion, images[0].newTag], [version, version, version])
  const shipped = readFileSync(join(root, 'catalog.yaml'), 'utf8')
  const copy = readFileSync(join(root, 'deploy/kubernetes/catalog.yaml'), 'utf8')
  assert.ok(copy === shipped, 'copy catalog.yaml to deploy/kubernetes/')
})

const damages: [string, (manifests: Manifest[]) => void, RegExp][] = [
  [
    'a probe of a route that is not there',
    (all) => {
      broker(all).readinessProbe.httpGet.path = '/ready'
    },
    /\/ready/
  ],
  [
    'another port',
    (all) => {
      broker(all).ports[0].containerPort = 80
    },
    /port/
  ],
  [
    'metrics that every pod may read',
    (all) => {
      all.find(({ kind }) => kind === 'NetworkPolicy').spec.ingress.push({ ports: [{ port: 'health' }] })
    },
    /opens health to every pod/
  ],
  [
    'a network policy that opens every port',
    (all) => {
      all.find(({ kind }) => kind === 'NetworkPolicy').spec.ingress.push({})
    },
    /opens every port to every pod/
  ],
  [
    'probes on the port of the platforms',
    (all) => {
      broker(all).livenessProbe.httpGet.port = 'http'
    },
    /livenessProbe: port http/
  ],
  [
    'a health listener that the kubelet does not reach',
    (all) => {
      broker(all).env = broker(all).env.filter(({ name }: Manifest) => name !== 'OTEL_EXPORTER_PROMETHEUS_HOST')
    },
    /kubelet does not reach/
  ],
  [
    'a variable that nobody reads',
    (all) => {
      broker(all).env[0].name = 'BROKER_STORE'
    },
    /BROKER_STORE/
  ],
  [
    'a password that is written down',
    (all) => {
      broker(all).env.push({ name: 'BROKER_PASSWORD', value: 'x' })
    },
    /BROKER_PASSWORD/
  ],
  [
    'a root that can be written',
    (all) => {
      broker(all).securityContext.readOnlyRootFilesystem = false
    },
    /restricted/
  ],
  [
    'too little time to stop',
    (all) => {
      deploymentOf(all).spec.template.spec.terminationGracePeriodSeconds = 14
    },
    /14 s/
  ],
  [
    'a selector that selects nothing',
    (all) => {
      all.find(({ kind }) => kind === 'Service').spec.selector = { a: 'b' }
    },
    /Service/
  ]
]
for (const [what, damage, fault] of damages) {
  test(`deploy/kubernetes: ${what} is seen`, async (t) => {
    const manifests = structuredClone(base)
    damage(manifests)
    const faults = await misfits(t, manifests)
    assert.equal(faults.length, 1, faults.join('\n'))
    assert.match(faults[0] ?? '', fault)
  })
}

/** Secrets, as `src/config.ts` has them: never in a manifest. */
const SECRETS = ['BROKER_USERNAME', 'BROKER_PASSWORD', 'BROKER_ENCRYPTION_KEYS', 'DATABASE_URL', 'POSTGRESQL_ADMIN_URL']
/** What the broker takes at most to stop (`docs/operations.md`). */
const STOPS_WITHIN_S = 10

/** What in the manifests does not fit the broker's variables, routes and port, or the restricted profile. */
async function misfits(t: TestContext, manifests: Manifest[]): Promise<string[]> {
  const faults: string[] = []
  const expect = (holds: boolean, fault: string) => holds || faults.push(fault)
  const { spec } = deploymentOf(manifests).spec.template
  const container = broker(manifests)

  const app = await buildApp(t)
  for (const kind of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
    const { path, port } = container[kind].httpGet
    expect((await app.inject(path)).statusCode === 200, `${kind}: there is no ${path}`)
    expect(port === 'health', `${kind}: port ${port}`)
  }
  const port = container.env.find(({ name }: { name: string }) => name === 'BROKER_PORT')
  const listening = port === undefined ? Environment.properties.BROKER_PORT.default : Number(port.value)
  expect(container.ports[0].containerPort === listening, `the port of the container is not ${listening}`)
  const variableOf = (name: string) => container.env.find((variable: { name: string }) => variable.name === name)?.value
  const health = container.ports.find(({ name }: { name: string }) => name === 'health')?.containerPort
  expect(
    variableOf('BROKER_HEALTH_LISTENER') === 'on' && variableOf('OTEL_EXPORTER_PROMETHEUS_HOST') === '0.0.0.0',
    'the kubelet does not reach the health listener'
  )
  expect(
    Number(variableOf('OTEL_EXPORTER_PROMETHEUS_PORT')) === health,
    `the port of the health listener is not ${health}`
  )

  for (const { name, value } of container.env) {
    expect(name in Environment.properties || name.startsWith('OTEL_'), `the broker reads no ${name}`)
    expect(!SECRETS.includes(name) || value === undefined, `${name} is written down`)
  }
  const given = new Set(container.env.map(({ name }: { name: string }) => name))
  for (const name of SECRETS) expect(given.has(name), `${name} is not given`)
  const needed = STOPS_WITHIN_S + container.lifecycle.preStop.sleep.seconds
  const grace = spec.terminationGracePeriodSeconds
  expect(grace >= needed, `it is killed after ${grace} s and needs ${needed} s`)
  expect(isRestricted(spec, container), 'it is not restricted (Pod Security Standards) with a read-only root')
  expect(spec.enableServiceLinks === false, 'service links may set variables')

  const labels = deploymentOf(manifests).spec.template.metadata.labels
  const selects = (selector: Record<string, string>) =>
    Object.keys(selector).length > 0 && Object.entries(selector).every(([name, value]) => labels[name] === value)
  for (const { kind, spec: selecting } of manifests) {
    if (kind === 'Service') expect(selects(selecting.selector), 'the Service selects other pods')
    if (kind === 'PodDisruptionBudget')
      expect(selects(selecting.selector.matchLabels), `the ${kind} selects other pods`)
    if (kind !== 'NetworkPolicy') continue
    expect(selects(selecting.podSelector.matchLabels), `the ${kind} selects other pods`)
    const open = selecting.ingress.filter(({ from = [] }: Manifest) => from.length === 0)
    const ports = open.flatMap((rule: Manifest) => rule.ports ?? [{ port: 'every port' }])
    for (const { port } of ports) expect(port === 'http', `the NetworkPolicy opens ${port} to every pod`)
  }
  for (const kind of ['Service', 'PodDisruptionBudget', 'NetworkPolicy', 'ServiceAccount']) {
    expect(
      manifests.some((manifest) => manifest.kind === kind),
      `there is no ${kind}`
    )
  }
  return faults
}

function isRestricted(pod: Manifest, { securityContext }: Manifest): boolean {
  return (
    pod.securityContext.runAsNonRoot === true &&
    pod.securityContext.runAsUser > 0 &&
    pod.securityContext.seccompProfile.type === 'RuntimeDefault' &&
    pod.automountServiceAccountToken === false &&
    securityContext.allowPrivilegeEscalation === false &&
    securityContext.readOnlyRootFilesystem === true &&
    securityContext.capabilities.drop.includes('ALL')
  )
}

function deploymentOf(manifests: Manifest[]): Manifest {
  return manifests.find(({ kind }) => kind === 'Deployment')
}

function broker(manifests: Manifest[]): Manifest {
  return deploymentOf(manifests).spec.template.spec.containers[0]
}

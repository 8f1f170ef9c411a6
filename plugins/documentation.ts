import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import fp from 'fastify-plugin'
import { finishApiDocument } from './api-document.ts'
import { boundAnswers } from './bounded-answers.ts'

/**
 * The OpenAPI 3.1 document of the routes, as `/docs/json` and `/docs/yaml`, and a viewer at `/docs`. No authentication and
 * no secrets: it says what the specification says. A host that documents its routes with `@fastify/swagger` has ours in
 * its document already, and gets no second one.
 */
export const documentation = fp(
  async (app) => {
    if (app.hasDecorator('swagger')) return
    await app.register(swagger, {
      hideUntagged: true,
      convertConstToEnum: false,
      openapi: {
        openapi: '3.1.0',
        info: {
          title: 'Open Service Broker API',
          description: 'The endpoints of this broker, by the Open Service Broker API v2.17.',
          version: '2.17',
          license: { name: 'Apache 2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0.html' }
        },
        externalDocs: {
          description: 'The specification',
          url: 'https://github.com/openservicebrokerapi/servicebroker/blob/master/spec.md'
        },
        servers: [{ url: app.prefix === '' ? '/' : app.prefix }],
        tags: [
          { name: 'Catalog', description: 'What is offered' },
          { name: 'ServiceInstances', description: 'Making, changing and removing service instances' },
          { name: 'ServiceBindings', description: 'Making and removing service bindings' },
          { name: 'Health', description: 'For whoever runs the broker' }
        ],
        components: { securitySchemes: { basicAuth: { type: 'http', scheme: 'basic' } } },
        security: [{ basicAuth: [] }]
      },
      transformObject: (document) =>
        'openapiObject' in document ? finishApiDocument(document.openapiObject) : document.swaggerObject
    })
    await app.register(async (scope) => {
      boundAnswers(scope)
      await scope.register(swaggerUi, {
        routePrefix: '/docs',
        staticCSP: true,
        transformStaticCSP: withoutOthers,
        // The public validator would be told the address of the broker.
        uiConfig: { validatorUrl: null },
        logLevel: 'warn'
      })
    })
  },
  { name: 'osb-documentation', fastify: '5.x' }
)

/** The viewer's policy without other hosts, and without the upgrade to HTTPS that a broker behind a proxy cannot serve. */
function withoutOthers(policy: string): string {
  return policy
    .split(';')
    .filter((directive) => directive.trim() !== 'upgrade-insecure-requests')
    .join(';')
    .replaceAll(/ (?:https:|validator\.swagger\.io)(?=[ ;]|$)/g, '')
}

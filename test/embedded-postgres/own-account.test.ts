import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isRoot } from '../../src/embedded-postgres/server-account.ts'

const skip =
  isRoot && hasNamespaces() ? false : 'only root on Linux creates accounts, and the test needs mount namespaces'
const script = fileURLToPath(new URL('account-process.ts', import.meta.url))

function hasNamespaces(): boolean {
  if (process.platform !== 'linux') return false
  return spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0
}

interface Chosen {
  readonly account: { uid: number; gid: number }
  readonly log: string[]
}

/** A copy of /etc without the account, and processes in a mount namespace that have it as their /etc. */
function machine(t: TestContext) {
  const etc = mkdtempSync(join(tmpdir(), 'osb-etc-'))
  const empty = mkdtempSync(join(tmpdir(), 'osb-sbin-'))
  t.after(() => {
    for (const folder of [etc, empty]) rmSync(folder, { recursive: true, force: true })
  })
  cpSync('/etc', etc, { recursive: true, filter: (path) => path === '/etc' || isOfAccounts(path) })
  for (const name of ['passwd', 'group', 'shadow', 'gshadow', 'subuid', 'subgid']) dropAccount(join(etc, name))
  return {
    passwd: () => readFileSync(join(etc, 'passwd'), 'utf8'),
    /** Chooses an account in several processes at once, after the commands. */
    choose(count: number, prepare = 'true'): Chosen[] {
      const commands = [
        `mount --bind ${etc} /etc`,
        prepare,
        `for i in $(seq ${count}); do "${process.execPath}" "${script}" & done; wait`
      ]
      const out = execFileSync('unshare', ['--mount', 'sh', '-ec', commands.join('\n')], {
        encoding: 'utf8',
        env: { ...process.env, EMPTY: empty }
      })
      return out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
    }
  }
}

function isOfAccounts(path: string): boolean {
  return /^\/etc\/(passwd|group|shadow|gshadow|subuid|subgid|login\.defs|nsswitch\.conf|default(\/.*)?)$/.test(path)
}

function dropAccount(file: string): void {
  try {
    const lines = readFileSync(file, 'utf8').split('\n')
    writeFileSync(file, lines.filter((line) => !line.startsWith('osb-postgres:')).join('\n'))
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
  }
}

function idsIn(passwd: string, name: string): { uid: number; gid: number } {
  const [entry, ...others] = passwd.split('\n').filter((line) => line.startsWith(`${name}:`))
  assert.deepEqual(others, [])
  const [, , uid, gid] = entry?.split(':') ?? []
  return { uid: Number(uid), gid: Number(gid) }
}

test('root: a new cluster gets a system account, which is created once, also by processes at the same time', {
  skip
}, (t) => {
  const { choose, passwd } = machine(t)
  const first = choose(6)
  const ids = idsIn(passwd(), 'osb-postgres')
  assert.ok(ids.uid > 0 && ids.uid < 1000, `uid ${ids.uid} is not that of a system account`)
  for (const { account } of first) assert.deepEqual(account, ids)
  assert.deepEqual(
    first.flatMap(({ log }) => log),
    [`created the system account "osb-postgres" (uid ${ids.uid}) to run the embedded PostgreSQL`]
  )
  assert.match(passwd(), /^osb-postgres:[^:]*:\d+:\d+:[^:]*:\/nonexistent:\S*nologin$/m)
  assert.deepEqual(choose(1), [{ account: ids, log: [] }])
})

const failures: [string, string, RegExp][] = [
  ['with a read-only /etc', 'mount -o remount,bind,ro /etc', /EROFS/],
  ['without tools', 'mount --bind "$EMPTY" /usr/sbin', /neither useradd nor addgroup/]
]
for (const [what, prepare, reason] of failures) {
  test(`root: ${what}, a new cluster goes to nobody, and the log says what to do`, { skip }, (t) => {
    const { choose, passwd } = machine(t)
    const [chosen] = choose(1, prepare)
    assert.deepEqual(chosen?.account, idsIn(passwd(), 'nobody'))
    assert.match(
      chosen?.log.join('\n') ?? '',
      /^warning: .* runs as "nobody".*create it with: useradd --system .* osb-postgres$/
    )
    assert.match(chosen?.log.join('\n') ?? '', reason)
    assert.doesNotMatch(passwd(), /osb-postgres/)
  })
}

/** Tools with the options of BusyBox, as far as these take them. */
const busybox = `mount --bind "$EMPTY" /usr/sbin
cat > /usr/sbin/addgroup <<'END'
#!/bin/sh -e
[ "$1" = -S ] && [ $# = 2 ] || exit 2
if grep -q "^$2:" /etc/group; then echo "addgroup: group '$2' in use" >&2; exit 1; fi
echo "$2:x:123:" >> /etc/group
END
cat > /usr/sbin/adduser <<'END'
#!/bin/sh -e
while getopts h:g:s:G:SDH name; do eval "o_$name='\${OPTARG:-1}'"; done
shift $((OPTIND - 1))
[ "$o_S$o_D$o_H" = 111 ] && [ $# = 1 ] || exit 2
gid=$(grep "^$o_G:" /etc/group | cut -d: -f3)
echo "$1:x:122:$gid:$o_g:$o_h:$o_s" >> /etc/passwd
END
chmod 755 /usr/sbin/addgroup /usr/sbin/adduser`

for (const [what, prepare] of [
  ['with the tools of BusyBox', busybox],
  ['with the tools of BusyBox, after an attempt that left its group', `${busybox}\n/usr/sbin/addgroup -S osb-postgres`]
] as const) {
  test(`root: ${what}, a new cluster gets a system account`, { skip }, (t) => {
    const { choose, passwd } = machine(t)
    const [chosen] = choose(1, prepare)
    assert.deepEqual(chosen?.account, { uid: 122, gid: 123 })
    assert.match(passwd(), /^osb-postgres:x:122:123:[^:]+:\/nonexistent:\/sbin\/nologin$/m)
  })
}

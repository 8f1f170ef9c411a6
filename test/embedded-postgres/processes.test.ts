import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { findProcess, findProcessesByCommand, parsePs } from '../../src/embedded-postgres/processes.ts'

test('find process: this one is found, by pid and by command', async () => {
  const found = await findProcess(process.pid)
  assert.equal(found?.pid, process.pid)
  assert.equal(found?.uid, process.getuid?.())
  assert.ok(found?.command)
  assert.ok((await findProcessesByCommand(found.command)).some(({ pid }) => pid === process.pid))
  assert.deepEqual(await findProcess(process.pid), found)
})

test('find process: one that has ended is not found', async () => {
  const child = spawn(process.execPath, ['-e', ''])
  await once(child, 'exit')
  assert.ok(child.pid)
  assert.equal(await findProcess(child.pid), undefined)
})

test('find process: a zombie is not found', { skip: process.platform === 'win32' && 'no zombies' }, async (t) => {
  // A shell that becomes a program which never asks for the end of its child.
  const parent = spawn('/bin/sh', ['-c', `sh -c 'echo $$' & exec ${process.execPath} -e 'setInterval(() => {}, 1000)'`])
  t.after(() => parent.kill('SIGKILL'))
  const [output] = await once(parent.stdout, 'data')
  const pid = Number(String(output))
  while ((await findProcess(pid)) !== undefined) assert.equal(parent.exitCode, null)
  assert.equal(process.kill(pid, 0), true)
})

test('parse ps: the lines of macOS are read, zombies left out', () => {
  const text = [
    '  501     0 Ss   Mon Nov 23 14:28:01 2026     /opt/pg/bin/postgres -D /Users/me/my data -c config_file=x   ',
    '  502   501 Z    Mon Nov  3 04:28:01 2026     (postgres)',
    '99999   501 S+   Tue Nov  3 04:28:01 2026     postgres: osb-1: checkpointer '
  ].join('\n')
  assert.deepEqual(
    parsePs(text).map(({ pid, uid, startMark, command }) => ({ pid, uid, startMark, command })),
    [
      {
        pid: 501,
        uid: 0,
        startMark: 'Mon Nov 23 14:28:01 2026',
        command: '/opt/pg/bin/postgres -D /Users/me/my data -c config_file=x'
      },
      { pid: 99999, uid: 501, startMark: 'Tue Nov  3 04:28:01 2026', command: 'postgres: osb-1: checkpointer' }
    ]
  )
})

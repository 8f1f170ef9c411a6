// Plain JavaScript in syntax that Node.js 12 still reads: its one job is a clear word where TypeScript would not start.
import { readFileSync } from 'node:fs'

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
const [, major, minor] = /^>=(\d+)\.(\d+)/.exec(manifest.engines.node)
const [ownMajor, ownMinor] = process.versions.node.split('.').map(Number)

if (ownMajor < Number(major) || (ownMajor === Number(major) && ownMinor < Number(minor))) {
  console.error(
    [
      `This is Node.js ${process.versions.node} (${process.execPath}); ${manifest.name} needs ${manifest.engines.node}.`,
      'npm scripts bring the right one along: start this through npm (npm test, npm start, npm run ...).',
      'Did npm start it? Then the development dependency "node" has not been set up, as happens after',
      '`npm ci --ignore-scripts`: run `npm ci` again without that flag, or install a newer Node.js.'
    ].join('\n')
  )
  process.exit(1)
}

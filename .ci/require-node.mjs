// Plain JavaScript in syntax that Node.js 12 still reads: its one job is a clear word where TypeScript would not start.
import { readFileSync } from 'node:fs'

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
const [major = 0, minor = 0] = manifest.engines.node.replace('>=', '').split('.').map(Number)
const [ownMajor = 0, ownMinor = 0] = process.versions.node.split('.').map(Number)

if (ownMajor < major || (ownMajor === major && ownMinor < minor)) {
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

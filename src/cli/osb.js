#!/usr/bin/env node
// Plain JavaScript that any Node can read: a Node too old must be told so, not fail on the first TypeScript file.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  console.error(
    `osb needs Node 22.19 or newer, and this is ${process.versions.node}. Install Node 24; or, in a checkout, run ` +
      '"npm ci" (without --ignore-scripts) and "npm start": that brings Node 24 along.'
  )
  process.exit(1)
}
await import('./main.ts')

import { defineConfig } from 'vitepress'
import { sections } from './pages.ts'
import { slugify } from './slug.ts'

export default defineConfig({
  title: 'fastify-open-service-broker',
  description: 'An Open Service Broker in TypeScript on Fastify',
  cleanUrls: true,
  lastUpdated: false,
  themeConfig: {
    sidebar: sections.map(({ text, items }) => ({ text, items: [...items] })),
    nav: [
      { text: 'Quick start', link: '/quick-start' },
      { text: 'Providers', link: '/providers' },
      { text: 'Configuration', link: '/configuration' }
    ],
    outline: [2, 3],
    search: { provider: 'local' },
    footer: { message: 'Apache License 2.0' }
  },
  markdown: {
    anchor: { slugify },
    config: (md) => {
      // Files of the repository are not on the site: they are named there, and are links on GitHub.
      md.core.ruler.push('outside-the-site', ({ tokens }) => {
        for (const { children } of tokens) {
          let depth = 0
          for (const token of children ?? []) {
            if (token.type === 'link_open' && String(token.attrGet('href')).startsWith('../')) depth += 1
            if (depth === 0 || !token.type.startsWith('link_')) continue
            if (token.type === 'link_close') depth -= 1
            token.type = token.type === 'link_open' ? 'em_open' : 'em_close'
            token.tag = 'em'
            token.attrs = null
          }
        }
      })
    }
  }
})

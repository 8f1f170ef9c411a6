/** A part of the sidebar. */
export interface Section {
  readonly text: string
  readonly items: readonly { readonly text: string; readonly link: string }[]
}

/** Every page of `docs/`, in the order in which the sidebar shows them. `npm run docs:check` misses none. */
export const sections: readonly Section[] = [
  {
    text: 'Start',
    items: [
      { text: 'Quick start', link: '/quick-start' },
      { text: 'Register it with a platform', link: '/registering' },
      { text: 'The client', link: '/client' }
    ]
  },
  {
    text: 'Build',
    items: [
      { text: 'Write a provider', link: '/providers' },
      { text: 'Embed the broker', link: '/embedding' },
      { text: 'The catalog', link: '/catalog' },
      { text: 'The conformance kit', link: '/conformance' }
    ]
  },
  {
    text: 'Operate',
    items: [
      { text: 'Configuration', link: '/configuration' },
      { text: 'Deploying', link: '/deploying' },
      { text: 'Connections to PostgreSQL', link: '/connections' },
      { text: 'Platforms and HTTPS', link: '/platforms' },
      { text: 'PostgreSQL databases', link: '/postgresql' },
      { text: 'Platforms as tenants', link: '/tenancy' },
      { text: 'Day by day', link: '/operating' },
      { text: 'Operations and guarantees', link: '/operations' },
      { text: 'Secrets', link: '/secrets' },
      { text: 'Audit', link: '/audit' },
      { text: 'Observability', link: '/observability' },
      { text: 'Upgrading', link: '/upgrading' }
    ]
  },
  {
    text: 'Background',
    items: [
      { text: 'Design decisions', link: '/decisions' },
      { text: 'Performance', link: '/performance' },
      { text: 'Other brokers', link: '/comparison' }
    ]
  }
]

import type { FastifyInstance } from 'fastify'

/** Returns the methods of the routes that match the URL of a request, sorted; none for an unknown path. */
export type AllowedMethods = (url: string) => string[]

/**
 * Learns the routes that are registered on the app afterwards. A router finds a route by method and path, and cannot say
 * which other methods a path has.
 */
export function collectAllowedMethods(app: FastifyInstance): AllowedMethods {
  const methodsOf = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method, routePath }) => {
    // Fastify registers the root of a prefix with and without a slash, and calls this hook for one of them.
    for (const form of routePath === '' ? [url, `${url}/`] : [url]) {
      const methods = methodsOf.get(form) ?? new Set()
      for (const name of [method].flat()) methods.add(name.toUpperCase())
      methodsOf.set(form, methods)
    }
  })
  let compiled: { pattern: RegExp; methods: string[] }[] | undefined
  return (requested) => {
    const path = pathOf(requested)
    if (path === undefined) return []
    // All routes are registered before the first request.
    compiled ??= [...methodsOf].map(([url, methods]) => ({ pattern: patternOf(url), methods: [...methods] }))
    const matching = compiled.filter(({ pattern }) => pattern.test(path)).flatMap(({ methods }) => methods)
    return [...new Set(matching)].sort()
  }
}

/** The path as the router reads it. An encoded slash stays encoded. Returns undefined for a bad percent escape. */
function pathOf(url: string): string | undefined {
  try {
    return decodeURI(url.replace(/^https?:\/\/[^/?#]*/i, '').replace(/[?#].*$/s, ''))
  } catch {
    return undefined
  }
}

/** A parameter of ours is a whole segment. In the prefix of a host it may begin within one. Wildcards are at the end. */
function patternOf(url: string): RegExp {
  const source = url
    .split('/')
    .map((segment) => {
      if (segment === '*') return '.*'
      const [text = '', parameter] = segment.split(':', 2)
      return `${text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}${parameter === undefined ? '' : '[^/]+'}`
    })
    .join('/')
  return new RegExp(`^${source}$`)
}

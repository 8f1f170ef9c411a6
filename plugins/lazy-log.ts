import type { FastifyBaseLogger } from 'fastify'

type Bindings = Parameters<FastifyBaseLogger['child']>[0]
type ChildOptions = Parameters<FastifyBaseLogger['child']>[1]
type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'

const LEVELS: Readonly<Record<string, number>> = {
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  fatal: 60,
  silent: 70
}

/**
 * The log of a request, for which a child of the server's is made when the first line is written. Most requests write none,
 * and making a child takes some microseconds.
 */
export class LazyLog implements FastifyBaseLogger {
  readonly #parent: FastifyBaseLogger
  readonly #bindings: Bindings
  readonly #options: ChildOptions
  #child: FastifyBaseLogger | undefined

  /** As `childLoggerFactory` of a server is called. */
  constructor(parent: FastifyBaseLogger, bindings: Bindings, options?: ChildOptions) {
    this.#parent = parent
    this.#bindings = bindings
    this.#options = options
  }

  get level(): string {
    return this.#child?.level ?? this.#options?.level ?? this.#parent.level
  }

  set level(level: string) {
    this.#made().level = level
  }

  /** Whether lines of a level are written. Levels of a host's own are not known here, and count as written. */
  isLevelEnabled(level: Level): boolean {
    return (LEVELS[level] ?? 0) >= (LEVELS[this.level] ?? 0)
  }

  child(bindings: Bindings, options?: ChildOptions): FastifyBaseLogger {
    if (options !== undefined || this.#child !== undefined) return this.#made().child(bindings, options)
    return new LazyLog(this.#parent, { ...this.#bindings, ...bindings }, this.#options)
  }

  trace(...line: unknown[]): void {
    this.#write('trace', line)
  }

  debug(...line: unknown[]): void {
    this.#write('debug', line)
  }

  info(...line: unknown[]): void {
    this.#write('info', line)
  }

  warn(...line: unknown[]): void {
    this.#write('warn', line)
  }

  error(...line: unknown[]): void {
    this.#write('error', line)
  }

  fatal(...line: unknown[]): void {
    this.#write('fatal', line)
  }

  silent(): void {}

  #write(level: Level, line: unknown[]): void {
    if (!this.isLevelEnabled(level)) return
    const log = this.#made()
    Reflect.apply(log[level], log, line)
  }

  #made(): FastifyBaseLogger {
    this.#child ??= this.#parent.child(this.#bindings, this.#options)
    return this.#child
  }
}

/** Whether lines of a level would be written; a log that cannot say so writes them. */
export function writes(log: FastifyBaseLogger, level: Level): boolean {
  return !(log instanceof LazyLog) || log.isLevelEnabled(level)
}

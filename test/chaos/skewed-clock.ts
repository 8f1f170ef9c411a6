/*
 * Preloaded into a replica with `node --import`: shifts the wall clock of the process by CHAOS_CLOCK_SHIFT_MS, as on a
 * machine without time synchronisation. Timers and the monotonic clock stay as they are.
 */

const shiftMs = Number(process.env.CHAOS_CLOCK_SHIFT_MS)
if (!Number.isFinite(shiftMs)) {
  throw new TypeError(`CHAOS_CLOCK_SHIFT_MS is ${process.env.CHAOS_CLOCK_SHIFT_MS}: it must be a number.`)
}

const realNow = Date.now
Date.now = () => realNow() + shiftMs

globalThis.Date = new Proxy(Date, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length === 0 ? [target.now()] : args, newTarget),
  apply: (target) => new target(target.now()).toString()
})

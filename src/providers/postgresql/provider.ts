import type { Bound, Finding, Provisioned, ServiceProvider, Task } from '../../core/provider.ts'
import { attempt, NamesTaken } from './attempt.ts'
import { backUp } from './backup.ts'
import { createLogin, removeLogin } from './bindings.ts'
import { describeBinding } from './credentials.ts'
import { installExtensions, requireAvailable, wantedExtensions } from './extensions.ts'
import { Guard } from './guard/guard.ts'
import { applyPlan, createInstance } from './instances.ts'
import { inventoryOf } from './inventory.ts'
import { dropLeftRoles } from './left-roles.ts'
import {
  type InstanceState,
  instanceNames,
  loginName,
  newBindingState,
  newInstanceState,
  newPassword,
  readBindingState,
  readInstanceState
} from './names.ts'
import { backupOf, type PostgresqlProviderOptions, serversOf } from './options.ts'
import { bindingRole, databaseLabel } from './parameters.ts'
import { lifetimeMs, planOptionFaults, planOptions, planOptionsSource } from './plan-options.ts'
import { removeInstance } from './removal.ts'
import { repairInstance } from './repair/repair.ts'
import { revoke } from './revocation.ts'
import { loginsOf } from './roles.ts'
import { scramVerifier } from './scram.ts'
import { Servers } from './servers.ts'
import { close } from './storage/closing.ts'
import { isLocked } from './storage/lock.ts'
import { liftIfRoom } from './storage/steps.ts'
import { describeUsage, LOCKED, usageOf } from './storage/usage.ts'
import { StorageWatch } from './storage/watch.ts'
import { requireUpdatable } from './update.ts'

/**
 * Hands out databases of PostgreSQL servers (15.10, 16.6, 17.2, 18.0 or later). An instance is a database with a
 * role that owns its objects; a binding is a login that acts as that role, or may only read. See `docs/postgresql.md`.
 */
export function postgresqlProvider(options: PostgresqlProviderOptions): ServiceProvider {
  const servers = new Servers(serversOf(options), options.poolSize)
  const backup = backupOf(options)
  const storage = new StorageWatch(servers)
  const guard = new Guard(servers)
  /** The saved state of a task's instance, which the guard remembers too. */
  const known = (instanceId: string, instance: Pick<Task, 'state'>): InstanceState => {
    const state = requireState(instance)
    guard.learn(instanceId, state)
    return state
  }
  return {
    name: 'postgresql',
    mode: 'either',
    options: planOptionsSource(servers.names),
    optionFaults: planOptionFaults,

    async provision(task): Promise<Provisioned> {
      const plan = planOptions(task.options)
      const extensions = wantedExtensions(task.parameters, plan, 400)
      const label = databaseLabel(task.parameters)
      const chosen = async () => {
        const server = await servers.emptiest(plan.servers, task)
        return newInstanceState({ server: server.name, ...(label === undefined ? {} : { label }) })
      }
      let state = readInstanceState(task.state) ?? (await chosen())
      const server = servers.of(state, task.log)
      await task.progress('Creating the database.')
      await attempt(server, task, {
        subject: () => ({ token: state.token }),
        save: () => {
          guard.learn(task.instanceId, state)
          return task.saveState(state)
        },
        run: async (maintenance) => {
          try {
            await requireAvailable(maintenance, extensions)
            await createInstance({ server, maintenance, names: instanceNames(state) }, plan, extensions)
          } catch (error) {
            if (error instanceof NamesTaken) state = { ...newInstanceState(), ...withoutToken(state) }
            throw error
          }
        }
      })
      return {}
    },

    async update(task): Promise<Provisioned> {
      const plan = planOptions(task.options)
      const extensions = wantedExtensions(task.parameters, plan, 422)
      const state = known(task.instanceId, task)
      const server = servers.of(state, task.log)
      const notice = await attempt(server, task, {
        subject: () => ({ token: state.token }),
        save: () => task.saveState(state),
        run: async (maintenance) => {
          const place = { server, maintenance, names: instanceNames(state) }
          const usable = await requireUpdatable(place, task, { plan, state })
          // An earlier version has closed it to the broker, too
          if (usable === 'full') await close(place)
          await installExtensions(place, extensions, 'later')
          await applyPlan(maintenance, place.names, plan)
          return liftIfRoom(place, plan, await task.bindings())
        }
      })
      return notice === undefined ? {} : { description: notice }
    },

    async deprovision(task): Promise<void> {
      let state = readInstanceState(task.state)
      // The state is kept before the first statement: without it nothing was made
      if (state === undefined) return
      const { token } = state
      const server = servers.of(state, task.log)
      await attempt(server, task, {
        subject: () => ({ token }),
        save: () => task.saveState({ ...state }),
        endsBindings: true,
        revoke: async (maintenance) => {
          const place = { server, maintenance, names: instanceNames({ ...state, token }) }
          await revoke(place, await loginsOf(maintenance, place.names))
        },
        run: async (maintenance) => {
          const place = { server, maintenance, names: instanceNames({ ...state, token }) }
          if (backup !== undefined && state?.backedUp !== true) {
            await backUp(place, backup, task)
            state = { ...state, token, backedUp: true }
            await task.saveState(state)
          }
          await task.progress('Removing the database.')
          await removeInstance(place)
        }
      })
    },

    async bind(task): Promise<Bound> {
      const plan = planOptions(task.options)
      const instance = known(task.instanceId, task.instance)
      const role = bindingRole(task.parameters)
      const password = newPassword()
      task.conceal(password)
      const verifier = await scramVerifier(password)
      const begun = readBindingState(task.state)
      const binding =
        begun === undefined
          ? newBindingState(instance, { role, verifier, lifetimeMs: lifetimeMs(plan) })
          : { ...begun, verifier }
      const server = servers.of(instance, task.log)
      const names = instanceNames(instance)
      const locked = await attempt(server, task, {
        subject: () => binding,
        save: () => task.saveState(binding),
        run: async (maintenance) => {
          await createLogin({ server, maintenance, names }, binding, { plan, password })
          return isLocked(maintenance, names)
        }
      })
      const { tls } = await server.ready()
      const bound = await describeBinding(server, options, { task, binding, password, database: names.database, tls })
      return locked ? { ...bound, description: LOCKED } : bound
    },

    async unbind(task): Promise<void> {
      const binding = readBindingState(task.state)
      if (binding === undefined) return
      const instance = known(task.instanceId, task.instance)
      const server = servers.of(instance, task.log)
      const names = instanceNames(instance)
      await attempt(server, task, {
        subject: () => binding,
        save: () => task.saveState(binding),
        revoke: (maintenance) => revoke({ server, maintenance, names }, [loginName(binding)]),
        run: (maintenance) => removeLogin({ server, maintenance, names }, loginName(binding))
      })
    },

    async start(context): Promise<void> {
      await servers.start()
      if (context !== undefined) await guard.start(context)
    },
    async stop(): Promise<void> {
      await guard.stop()
      await servers.close()
    },
    health: () => servers.ping(),
    inventory: inventoryOf(servers),
    async watch(round): Promise<void> {
      await guard.resolve(round)
      await storage.run(round)
      for (const server of servers.all()) await dropLeftRoles(server, round)
    },
    async repair(task): Promise<readonly Finding[]> {
      known(task.instance.instanceId, task.instance)
      return await repairInstance(servers, task)
    },

    async describe(task) {
      const state = requireState(task)
      const server = servers.of(state, task.log)
      await server.ready()
      const names = instanceNames(state)
      const usage = (await usageOf({ query: server.read.bind(server) }, [names])).get(names.database)
      if (usage === undefined)
        return { measures: [], notice: 'The database of this service instance no longer exists.' }
      return describeUsage(usage, planOptions(task.options))
    },

    async labels(task) {
      const { owner } = instanceNames(requireState(task))
      const server = servers.of(requireState(task), task.log)
      const locked = await server.read('SELECT FROM pg_roles WHERE rolname = $1 AND rolconnlimit >= 0', [owner])
      // As Kubernetes and Cloud Foundry take the value of a label
      return locked.length === 0 ? {} : { storage_quota: 'used-up' }
    }
  }
}

function withoutToken({ token: _, ...rest }: InstanceState): Omit<InstanceState, 'token'> {
  return rest
}

function requireState({ state }: Pick<Task, 'state'>): InstanceState {
  const saved = readInstanceState(state)
  if (saved === undefined) throw new Error('The instance has no saved state: it was not made by this provider.')
  return saved
}

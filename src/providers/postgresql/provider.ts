import type { JsonObject } from '../../../schemas/common.ts'
import type { Bound, Provisioned, ServiceProvider, Task } from '../../core/provider.ts'
import { attempt, NamesTaken } from './attempt.ts'
import { backUp } from './backup.ts'
import { createLogin, removeLogin } from './bindings.ts'
import { describeBinding } from './credentials.ts'
import { installExtensions, requireAvailable, wantedExtensions } from './extensions.ts'
import { ServerUnfit } from './faults.ts'
import { applyPlan, createInstance, requireUsable } from './instances.ts'
import {
  type InstanceState,
  instanceNames,
  loginName,
  newBindingState,
  newInstanceState,
  readBindingState,
  readInstanceState
} from './names.ts'
import { bindingRole, PlanOptionsSource, type PostgresqlProviderOptions, planOptions } from './options.ts'
import { removeInstance } from './removal.ts'
import { AdminServer } from './server.ts'

/**
 * Hands out databases of one PostgreSQL server (15.10, 16.6, 17.2, 18.0 or later). An instance is a database with a
 * role that owns its objects; a binding is a login that acts as that role, or may only read. See `docs/postgresql.md`.
 */
export function postgresqlProvider(options: PostgresqlProviderOptions): ServiceProvider {
  const server = new AdminServer(options)
  return {
    name: 'postgresql',
    mode: 'either',
    options: PlanOptionsSource,

    async provision(task): Promise<Provisioned> {
      const plan = planOptions(task.options)
      const extensions = wantedExtensions(task.parameters, plan, 400)
      let state = readInstanceState(task.state) ?? newInstanceState()
      await task.progress('Creating the database.')
      await attempt(server, task, {
        subject: () => state.token,
        save: () => task.saveState(state),
        run: async (maintenance) => {
          try {
            await requireAvailable(maintenance, extensions)
            await createInstance({ server, maintenance, names: instanceNames(state) }, plan, extensions)
          } catch (error) {
            if (error instanceof NamesTaken) state = newInstanceState()
            throw error
          }
        }
      })
      return {}
    },

    async update(task): Promise<Provisioned> {
      const plan = planOptions(task.options)
      const extensions = wantedExtensions(task.parameters, plan, 422)
      const state = requireState(task)
      await attempt(server, task, {
        subject: () => state.token,
        save: () => task.saveState(state),
        run: async (maintenance) => {
          const names = instanceNames(state)
          await requireUsable(maintenance, names)
          await installExtensions({ server, maintenance, names }, extensions, 'later')
          await applyPlan(maintenance, names, plan)
        }
      })
      return {}
    },

    async deprovision(task): Promise<void> {
      let state = readInstanceState(task.state)
      // The state is kept before the first statement: without it nothing was made
      if (state === undefined) return
      const { token } = state
      const { backupCommand } = options
      await attempt(server, task, {
        subject: () => token,
        save: () => task.saveState({ ...state }),
        endsBindings: true,
        run: async (maintenance) => {
          const place = { server, maintenance, names: instanceNames({ token }) }
          if (backupCommand !== undefined && state?.backedUp !== true) {
            await backUp(place, backupCommand, task)
            state = { token, backedUp: true }
            await task.saveState(state)
          }
          await task.progress('Removing the database.')
          await removeInstance(place)
        }
      })
    },

    async bind(task): Promise<Bound> {
      const plan = planOptions(task.options)
      const { token } = requireState(task.instance)
      const binding = readBindingState(task.state) ?? newBindingState(token, bindingRole(task.parameters))
      await attempt(server, task, {
        subject: () => `${binding.token}_${binding.suffix}`,
        save: () => task.saveState(binding),
        run: (maintenance) => createLogin({ server, maintenance, names: instanceNames(binding) }, binding, plan)
      })
      const { tls } = await server.ready()
      return describeBinding(server, options, { task, binding, tls })
    },

    async unbind(task): Promise<void> {
      const binding = readBindingState(task.state)
      if (binding === undefined) return
      await attempt(server, task, {
        subject: () => `${binding.token}_${binding.suffix}`,
        save: () => task.saveState(binding),
        run: (maintenance) => {
          return removeLogin({ server, maintenance, names: instanceNames(binding) }, loginName(binding))
        }
      })
    },

    async start(): Promise<void> {
      try {
        await server.ready()
      } catch (error) {
        // A server that is down comes up later, and tasks try it anew; one that is unfit stays so
        if (error instanceof ServerUnfit) throw error
      }
    },

    stop: () => server.close(),
    health: () => server.ping(),
    inventory: { list: () => server.listNames(), namesOf }
  }
}

/** As `AdminServer.listNames` names them. */
function namesOf(kind: 'instance' | 'binding', state: JsonObject): string[] {
  if (kind === 'binding') {
    const binding = readBindingState(state)
    return binding === undefined ? [] : [`role ${loginName(binding)}`]
  }
  const instance = readInstanceState(state)
  if (instance === undefined) return []
  const { database, owner, reader } = instanceNames(instance)
  return [`database ${database}`, `role ${owner}`, `role ${reader}`]
}

function requireState({ state }: Pick<Task, 'state'>): InstanceState {
  const saved = readInstanceState(state)
  if (saved === undefined) throw new Error('The instance has no saved state: it was not made by this provider.')
  return saved
}

import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { JsonObject } from '../../../schemas/common.ts'
import { Rejected } from '../../core/provider.ts'
import { codeOf } from './faults.ts'
import type { Place } from './instances.ts'
import type { PlanOptions } from './plan-options.ts'
import { quoteIdentifier } from './quoting.ts'
import type { Session } from './session.ts'
import { inDatabase } from './tenant.ts'

const Extensions = Type.Array(Type.String(), { maxItems: 100 })

/** What the server knows of an extension that it has. */
interface Available extends Record<string, unknown> {
  readonly name: string
  /** Whether the owner of a database may install it: it is trusted, or needs no superuser. */
  readonly open: boolean
}

/**
 * The extensions that the user asks for.
 * @param status of the refusal: 400 of a provision, 422 of an update (spec: Updating, 422)
 * @throws {Rejected} when the plan does not allow one of them, or they are no list of names
 */
export function wantedExtensions(
  { extensions: asked = [] }: JsonObject,
  plan: PlanOptions,
  status: 400 | 422
): string[] {
  const { extensions: allowed } = plan
  const list = allowed.length === 0 ? 'none' : allowed.join(', ')
  if (!isNames(asked)) throw new Rejected(400, `"extensions" is a list of names. The plan allows: ${list}.`)
  const refused = asked.find((name) => !allowed.includes(name))
  if (refused === undefined) return asked
  throw new Rejected(status, `The plan does not allow the extension "${refused}". It allows: ${list}.`)
}

/**
 * Installs what is missing; never removes one, for its types and data would go along. A trusted extension becomes the owner's,
 * who may drop it. Others the admin installs, and only before the tenant has been in the database: a script that runs as
 * superuser must not find objects that the tenant has put in its way.
 * @throws {Rejected} when the server does not have it, or it cannot be installed (any more)
 */
export async function installExtensions(
  place: Place,
  wanted: readonly string[],
  when: 'first' | 'later'
): Promise<void> {
  if (wanted.length === 0) return
  const { server, maintenance, names } = place
  const status = when === 'first' ? 400 : 422
  const available = await availableIn(maintenance, wanted)
  const run = async (tenant: Session) => {
    const installed = await tenant.query<{ name: string }>('SELECT extname::text AS name FROM pg_extension')
    for (const extension of wanted) {
      if (installed.some(({ name }) => name === extension)) continue
      const { open } = available.find(({ name }) => name === extension) ?? missing(extension, status)
      if (!open && when === 'later') {
        throw new Rejected(422, `The extension "${extension}" can be had only when the instance is made.`)
      }
      await create(tenant, extension, open ? names.owner : undefined)
    }
  }
  await inDatabase(server, maintenance, { database: names.database, run })
}

/** @throws {Rejected} when the server does not have one of them; asked before anything is made */
export async function requireAvailable(maintenance: Session, wanted: readonly string[]): Promise<void> {
  const available = await availableIn(maintenance, wanted)
  for (const extension of wanted) if (!available.some(({ name }) => name === extension)) missing(extension, 400)
}

async function availableIn(maintenance: Session, wanted: readonly string[]): Promise<Available[]> {
  if (wanted.length === 0) return []
  return maintenance.query<Available>(
    `SELECT a.name::text, v.trusted OR NOT v.superuser AS open FROM pg_available_extensions AS a
     JOIN pg_available_extension_versions AS v ON v.name = a.name AND v.version = a.default_version
     WHERE a.name = ANY ($1)`,
    [wanted]
  )
}

/** SQLSTATEs of functions, types and tables of the tenant whose names the extension needs. */
const IN_THE_WAY = ['42723', '42710', '42P07']

async function create(tenant: Session, extension: string, owner: string | undefined): Promise<void> {
  try {
    if (owner !== undefined) await tenant.query(`SET ROLE ${quoteIdentifier(owner)}`)
    await tenant.query(`CREATE EXTENSION IF NOT EXISTS ${quoteIdentifier(extension)} SCHEMA public CASCADE`)
    await tenant.query('RESET ROLE')
  } catch (error) {
    const code = codeOf(error) ?? ''
    if (code === '42501') {
      throw new Rejected(400, `The extension "${extension}" needs more rights than the broker has on the server.`)
    }
    if (code === '3F000') {
      throw new Rejected(
        422,
        `The extension "${extension}" cannot be installed, because the database has no schema "public". Create it again.`
      )
    }
    if (!IN_THE_WAY.includes(code)) throw error
    throw new Rejected(422, `The extension "${extension}" has names that objects in the database have already.`)
  }
}

function missing(extension: string, status: 400 | 422): never {
  throw new Rejected(status, `The server does not have the extension "${extension}".`)
}

function isNames(value: unknown): value is Static<typeof Extensions> {
  return Value.Check(Extensions, value)
}

import { codeOf } from '../faults.ts'
import type { Place } from '../instances.ts'
import { resourceName } from '../inventory.ts'
import { areLargeObjectsOpen, closeLargeObjects } from '../large-objects.ts'
import type { InstanceNames } from '../names.ts'
import { loginsWithObjects, reassign } from '../ownership.ts'
import { quoteLiteral } from '../quoting.ts'
import type { Session } from '../session.ts'
import { inDatabase } from '../tenant.ts'
import { candidate, candidates } from './candidates.ts'
import type { Drift } from './drift.ts'

/** A tenant decides how many objects the catalog has and which are locked; operations on the instance wait for the repair. */
const BOUNDS = `SET lock_timeout = '1s'; SET statement_timeout = '10s'`

/** Objects that a repair reports and hands over at a time. The next round finds the others. */
const MAX_OBJECTS = 100
/** How much of the name of an object a finding has, because the signature of a function can be many kilobytes long. */
const NAME_CHARACTERS = 200

interface ForeignObject extends Record<string, unknown> {
  readonly class: string
  readonly oid: string
  readonly kind: string
  readonly name: string
  readonly possessor: string
}

/** Finding in databases that an earlier version created. */
const OPEN = 'lets others than the owner write large objects'

/** Objects in the schemas of the tenant that do not belong to the owner, so that not every binding can change them. */
export async function objectsDrift(place: Place): Promise<Drift[]> {
  const { server, maintenance, names } = place
  const resource = resourceName('database', names.database, server.name)
  const inside = <T>(run: (tenant: Session) => Promise<T>) =>
    inDatabase(server, maintenance, {
      database: names.database,
      run: async (tenant) => {
        await tenant.query(BOUNDS)
        return run(tenant)
      }
    })

  const strays = await loginsWithObjects(maintenance, names)
  const foreign = await inside((tenant) => foreignObjects(tenant, names))
  let handing: Promise<Map<ForeignObject, unknown>> | undefined
  const { superuser } = await server.ready()
  const open = superuser && (await inside((tenant) => areLargeObjectsOpen(tenant, names)))
  const drift: Drift[] = [
    ...(open ? [{ resource, finding: OPEN, heal: () => inside((tenant) => closeLargeObjects(tenant, names)) }] : []),
    ...strays.map((login) => ({
      resource,
      finding: `has objects of ${login}`,
      heal: () => inside((tenant) => reassign(tenant, login, names))
    }))
  ]
  if (foreign === 'late') return [...drift, { resource, finding: 'has too many objects to compare their owners' }]
  const foreignDrift = foreign.map((object) => ({
    resource,
    finding: `${object.kind.toLowerCase()} ${object.name} belongs to ${object.possessor}`,
    heal: async () => {
      handing ??= inside((tenant) => handOver(tenant, names, foreign))
      const failures = await handing
      if (failures.has(object)) throw failures.get(object)
    }
  }))
  return [...drift, ...foreignDrift]
}

/** `late` if the server does not find them in time. */
async function foreignObjects(tenant: Session, names: InstanceNames): Promise<ForeignObject[] | 'late'> {
  try {
    return await tenant.query<ForeignObject>(
      `SELECT o.class::oid::text AS class, o.oid::text AS oid, o.kind, r.rolname::text AS possessor,
              left(CASE o.kind WHEN 'ROUTINE' THEN o.oid::regprocedure::text
                   ELSE (pg_identify_object(o.class, o.oid, 0)).identity END, ${NAME_CHARACTERS}) AS name
       FROM (${candidates('$1')}) AS o
       JOIN pg_roles AS r ON r.oid = o.possessor
       -- What a login has made is handed over as a whole.
       WHERE NOT starts_with(r.rolname, $2)
       ORDER BY o.kind = 'SCHEMA' DESC, name LIMIT ${MAX_OBJECTS}`,
      [names.owner, names.loginPrefix]
    )
  } catch (error) {
    if (codeOf(error) !== '57014') throw error
    return 'late'
  }
}

/** How long the objects of one repair may take. The rest is left to the next repair. */
const HAND_OVER_MS = 10_000

/**
 * Hands the objects over, each in a transaction of its own and after the objects that depend on it, because a tenant must not
 * change a function that an object of another role calls. Returns the error of each object that failed.
 */
async function handOver(
  tenant: Session,
  { owner }: InstanceNames,
  objects: readonly ForeignObject[]
): Promise<Map<ForeignObject, unknown>> {
  const end = performance.now() + HAND_OVER_MS
  const failures = new Map<ForeignObject, unknown>()
  // Objects that depend on others usually are younger. The schema comes first.
  let waiting = objects.toSorted((a, b) => rankOf(b) - rankOf(a))
  for (let before = waiting.length + 1; waiting.length < before; ) {
    before = waiting.length
    const held: ForeignObject[] = []
    for (const object of waiting) {
      try {
        if (performance.now() > end) throw Object.assign(new Error('The repair ran out of time.'), { code: '57014' })
        await tenant.query(handOverStatement(object, owner))
        failures.delete(object)
      } catch (error) {
        tenant.work.signal.throwIfAborted()
        failures.set(object, error)
        if (codeOf(error) === HELD) held.push(object)
      }
    }
    waiting = held
  }
  return failures
}

function rankOf({ kind, oid }: ForeignObject): number {
  return kind === 'SCHEMA' ? Number.POSITIVE_INFINITY : Number(oid)
}

/** SQLSTATE of an object on which an object of another role depends. */
export const HELD = 'OSB02'
/** SQLSTATE of an object that changed while the repair handed it over. */
export const CHANGED = 'OSB01'

/**
 * ALTER finds an object by its name, which the tenant can give to another object in the meantime. So the same transaction
 * checks afterwards, while ALTER holds its lock on the object, that the object with the oid is the one that changed and still
 * may be handed over. Otherwise the error rolls the ALTER back. All names are looked up in `pg_catalog` alone.
 */
function handOverStatement({ class: catalog, oid }: ForeignObject, owner: string): string {
  const role = quoteLiteral(owner)
  const same = `o.class = ${quoteLiteral(catalog)}::oid AND o.oid = ${quoteLiteral(oid)}::oid`
  return `DO ${quoteLiteral(`
    DECLARE
      object record;
    BEGIN
      SELECT * INTO object FROM (${candidate(role, `${same} AND o.possessor <> tenant.oid`)}) AS o;
      IF NOT FOUND THEN RAISE EXCEPTION 'Another object depends on it.' USING ERRCODE = '${HELD}'; END IF;
      EXECUTE format('ALTER %s %s OWNER TO %I', object.kind,
                     (pg_identify_object(object.class, object.oid, 0)).identity, ${role});
      PERFORM FROM (${candidate(role, `${same} AND o.possessor = tenant.oid`)}) AS o;
      IF NOT FOUND THEN RAISE EXCEPTION 'The object has changed.' USING ERRCODE = '${CHANGED}'; END IF;
    END`)}`
}

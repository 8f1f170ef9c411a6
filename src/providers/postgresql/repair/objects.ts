import type { Place } from '../instances.ts'
import { resourceName } from '../inventory.ts'
import { areLargeObjectsOpen, closeLargeObjects } from '../large-objects.ts'
import { loginsWithObjects } from '../ownership.ts'
import { quoteIdentifier } from '../quoting.ts'
import type { Session } from '../session.ts'
import { inDatabase } from '../tenant.ts'
import type { Drift } from './drift.ts'

/** What is in the way of the tenant's work waits longer than a repair; tasks wait for the repair. */
const PATIENCE = `SET lock_timeout = '1s'`

/** In databases of an earlier version, too. */
const OPEN = 'lets others than the owner write large objects'

/** Objects of the tenant's that belong to somebody else than the owner, so that not every binding can change them. */
export async function objectsDrift(place: Place): Promise<Drift[]> {
  const { server, maintenance, names } = place
  const resource = resourceName('database', names.database, server.name)
  const owner = quoteIdentifier(names.owner)
  const inside = <T>(run: (tenant: Session) => Promise<T>) =>
    inDatabase(server, maintenance, { database: names.database, run })
  const heal = (statement: string) => () =>
    inside(async (tenant) => {
      await tenant.query(PATIENCE)
      await tenant.query(statement)
    })

  const strays = await loginsWithObjects(maintenance, names)
  const foreign = await inside((tenant) =>
    tenant.query<{ what: string; possessor: string; statement: string }>(FOREIGN_OBJECTS, [
      names.owner,
      names.loginPrefix
    ])
  )
  const { superuser } = await server.ready()
  const open = superuser && (await inside((tenant) => areLargeObjectsOpen(tenant, names)))
  return [
    ...(open ? [{ resource, finding: OPEN, heal: () => inside((tenant) => closeLargeObjects(tenant, names)) }] : []),
    ...strays.map((login) => ({
      resource,
      finding: `has objects of ${login}`,
      heal: heal(`REASSIGN OWNED BY ${quoteIdentifier(login)} TO ${owner}`)
    })),
    ...foreign.map(({ what, possessor, statement }) => ({
      resource,
      finding: `${what} belongs to ${possessor}`,
      heal: heal(`${statement} OWNER TO ${owner}`)
    }))
  ]
}

/**
 * Schema `public`, and in schemas of the owner's what an administrator made or took. What extensions made stays theirs; what a
 * table has of sequences and types goes with it; what a login has is handed over as a whole.
 */
const FOREIGN_OBJECTS = `
  WITH instance AS (SELECT oid AS owner FROM pg_roles WHERE rolname = $1),
  theirs AS (
    SELECT n.oid, n.nspowner FROM pg_namespace AS n, instance WHERE n.nspowner = instance.owner OR n.nspname = 'public'
  ),
  objects AS (
    SELECT 'pg_class'::regclass AS class, c.oid, c.relowner AS possessor,
           CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name
    FROM pg_class AS c JOIN theirs ON theirs.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND c.relkind = 'S' AND d.deptype IN ('a', 'i'))
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, p.proowner, 'ROUTINE', p.oid::regprocedure::text
    FROM pg_proc AS p JOIN theirs ON theirs.oid = p.pronamespace WHERE p.prokind <> 'a'
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, t.typowner, CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, t.oid::regtype::text
    FROM pg_type AS t JOIN theirs ON theirs.oid = t.typnamespace
    WHERE t.typtype IN ('e', 'd', 'r')
       OR t.typtype = 'c' AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.typrelid AND c.relkind = 'c')
    UNION ALL
    SELECT 'pg_namespace'::regclass, theirs.oid, theirs.nspowner, 'SCHEMA', theirs.oid::regnamespace::text FROM theirs
  )
  SELECT lower(kind) || ' ' || name AS what, r.rolname::text AS possessor, 'ALTER ' || kind || ' ' || name AS statement
  FROM objects JOIN pg_roles AS r ON r.oid = possessor, instance
  WHERE possessor <> instance.owner AND NOT starts_with(r.rolname, $2)
    AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = class AND d.objid = objects.oid AND d.deptype = 'e')
  ORDER BY kind = 'SCHEMA' DESC, name`

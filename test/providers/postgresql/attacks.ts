/** What a session with issued credentials tries. */
export interface Attack {
  readonly sql: string
  /**
   * How PostgreSQL says no; default: 42501. `warning`: it only warns, and nothing may have changed. More than one code where
   * versions, or what is installed, differ.
   */
  readonly refusal?: 'warning' | readonly string[]
}

/** Names that the attacks are about. */
export interface Targets {
  readonly database: string
  readonly owner: string
  readonly login: string
  readonly foreignDatabase: string
  readonly foreignOwner: string
  readonly foreignLogin: string
  /** Of the broker. */
  readonly admin: string
  /** Process id of a session of the other tenant's. */
  readonly foreignPid: number
  /** A path that nothing is at. */
  readonly file: string
}

/** Every attack, by what it is after. */
export function attacksOn(targets: Targets): Readonly<Record<string, readonly Attack[]>> {
  return {
    'become somebody else': becoming(targets),
    'change roles': roles(targets),
    'change databases': databases(targets),
    'reach files and programs': files(targets),
    'see what is not its own': seeing(targets),
    'change the server': server(targets)
  }
}

function becoming({ owner, login, foreignOwner, foreignLogin, admin }: Targets): Attack[] {
  const others = [foreignOwner, foreignLogin, admin, 'postgres']
  return [
    ...others.map((role) => ({ sql: `SET ROLE ${role}` })),
    ...others.map((role) => ({ sql: `SET SESSION AUTHORIZATION ${role}` })),
    { sql: `GRANT ${foreignOwner} TO ${login}` },
    { sql: `GRANT ${foreignOwner} TO ${owner}` },
    { sql: `GRANT ${owner} TO ${foreignOwner}` },
    { sql: `GRANT ${login} TO ${foreignLogin}` },
    { sql: `GRANT ${admin} TO ${login}` },
    { sql: `GRANT osb_tenant TO ${foreignOwner}` },
    { sql: 'GRANT pg_read_server_files TO CURRENT_USER' },
    { sql: 'GRANT pg_execute_server_program TO CURRENT_USER' },
    { sql: 'GRANT pg_write_all_data TO CURRENT_USER' },
    { sql: `REASSIGN OWNED BY ${foreignOwner} TO CURRENT_USER` },
    { sql: `DROP OWNED BY ${foreignOwner}` },
    { sql: `CREATE SCHEMA intruder AUTHORIZATION ${foreignOwner}` },
    { sql: `ALTER DEFAULT PRIVILEGES FOR ROLE ${foreignOwner} GRANT ALL ON TABLES TO PUBLIC` }
  ]
}

function roles({ login, owner, foreignLogin, foreignOwner, admin }: Targets): Attack[] {
  const own = ['SUPERUSER', 'CREATEDB', 'CREATEROLE', 'REPLICATION', 'BYPASSRLS']
  return [
    { sql: 'CREATE ROLE intruder LOGIN' },
    ...own.map((attribute) => ({ sql: `ALTER ROLE ${login} ${attribute}` })),
    { sql: `ALTER ROLE ${owner} LOGIN PASSWORD 'x'` },
    { sql: `ALTER ROLE ${login} CONNECTION LIMIT -1` },
    { sql: `ALTER ROLE ${login} VALID UNTIL '2000-01-01'` },
    { sql: `ALTER ROLE ${login} NOINHERIT` },
    { sql: `ALTER ROLE ${login} RENAME TO intruder`, refusal: ['0A000'] },
    { sql: `ALTER ROLE ${foreignLogin} RENAME TO intruder` },
    { sql: `ALTER ROLE ${foreignLogin} PASSWORD 'x'` },
    { sql: `ALTER ROLE ${foreignLogin} SET search_path = nowhere` },
    { sql: `ALTER ROLE ALL SET search_path = nowhere` },
    { sql: `ALTER ROLE ${admin} SET search_path = public` },
    { sql: `DROP ROLE ${foreignLogin}` },
    { sql: `DROP ROLE ${foreignOwner}` },
    { sql: `COMMENT ON ROLE ${foreignLogin} IS 'x'` }
  ]
}

function databases({ database, owner, foreignDatabase, foreignOwner }: Targets): Attack[] {
  return [
    { sql: `DROP DATABASE ${database}` },
    { sql: `ALTER DATABASE ${database} RENAME TO intruder` },
    { sql: `ALTER DATABASE ${database} CONNECTION LIMIT -1` },
    { sql: `ALTER DATABASE ${database} ALLOW_CONNECTIONS false` },
    { sql: `ALTER DATABASE ${database} IS_TEMPLATE true` },
    { sql: `ALTER DATABASE ${database} SET search_path = public` },
    { sql: `ALTER DATABASE ${database} SET role = none` },
    { sql: `ALTER DATABASE ${database} RESET ALL` },
    { sql: `ALTER DATABASE ${database} OWNER TO ${owner}` },
    { sql: `ALTER DATABASE ${database} SET TABLESPACE pg_global` },
    { sql: `GRANT CONNECT ON DATABASE ${database} TO PUBLIC`, refusal: 'warning' },
    { sql: `GRANT CONNECT ON DATABASE ${database} TO ${foreignOwner}`, refusal: 'warning' },
    { sql: `REVOKE CONNECT ON DATABASE ${database} FROM ${owner}`, refusal: 'warning' },
    { sql: `DROP DATABASE ${foreignDatabase}` },
    { sql: `ALTER DATABASE ${foreignDatabase} CONNECTION LIMIT 0` },
    { sql: `GRANT CONNECT ON DATABASE ${foreignDatabase} TO CURRENT_USER` },
    { sql: 'GRANT CONNECT ON DATABASE postgres TO CURRENT_USER' },
    { sql: 'CREATE DATABASE intruder' },
    { sql: `CREATE DATABASE intruder TEMPLATE ${foreignDatabase}` },
    { sql: `COMMENT ON DATABASE ${foreignDatabase} IS 'x'` }
  ]
}

function files({ file }: Targets): Attack[] {
  // Where they are not installed they are refused for that
  const extensions = ['dblink', 'file_fdw', 'pageinspect', 'adminpack', 'postgres_fdw', 'plperlu', 'plpython3u']
  return [
    { sql: `COPY (SELECT 1) TO PROGRAM 'touch ${file}'` },
    { sql: `CREATE TEMPORARY TABLE p (l text); COPY p FROM PROGRAM 'id'` },
    { sql: `COPY (SELECT 1) TO '${file}'` },
    { sql: `CREATE TEMPORARY TABLE f (l text); COPY f FROM '/etc/passwd'` },
    { sql: `SELECT pg_read_file('PG_VERSION')` },
    { sql: `SELECT pg_read_binary_file('/etc/passwd')` },
    { sql: `SELECT pg_stat_file('PG_VERSION')` },
    { sql: `SELECT pg_ls_dir('.')` },
    { sql: 'SELECT pg_ls_logdir()' },
    { sql: 'SELECT pg_ls_waldir()' },
    { sql: `SELECT lo_import('/etc/passwd')` },
    { sql: `SELECT lo_export(lo_from_bytea(0, 'x'), '${file}')` },
    { sql: `LOAD 'auto_explain'` },
    { sql: `SET shared_preload_libraries = 'auto_explain'`, refusal: ['55P02'] },
    { sql: `CREATE FUNCTION c() RETURNS int LANGUAGE c AS 'libc', 'getpid'` },
    { sql: `CREATE FUNCTION i(text) RETURNS text LANGUAGE internal AS 'pg_read_file_all'` },
    { sql: `CREATE TABLESPACE intruder LOCATION '/tmp'` },
    ...extensions.map((name) => ({ sql: `CREATE EXTENSION ${name}`, refusal: ['42501', '0A000', '58P01'] }))
  ]
}

function seeing({ foreignDatabase, foreignPid }: Targets): Attack[] {
  return [
    { sql: 'SELECT * FROM pg_authid' },
    { sql: 'SELECT * FROM pg_shadow' },
    { sql: 'SELECT * FROM pg_user_mapping' },
    { sql: 'SELECT subconninfo FROM pg_subscription' },
    { sql: 'SELECT * FROM pg_hba_file_rules' },
    { sql: 'SELECT * FROM pg_file_settings' },
    { sql: 'SELECT * FROM pg_config' },
    { sql: 'SELECT pg_current_logfile()' },
    { sql: `SELECT pg_database_size('${foreignDatabase}')` },
    { sql: `SELECT pg_terminate_backend(${foreignPid})` },
    { sql: `SELECT pg_cancel_backend(${foreignPid})` },
    { sql: `SELECT pg_log_backend_memory_contexts(${foreignPid})` }
  ]
}

function server({ file }: Targets): Attack[] {
  const connection = `'host=127.0.0.1 dbname=postgres'`
  return [
    { sql: `ALTER SYSTEM SET work_mem = '1GB'` },
    { sql: `SET log_statement = 'none'` },
    { sql: 'SET temp_file_limit = -1' },
    { sql: 'SET session_replication_role = replica' },
    { sql: `SET log_directory = '${file}'`, refusal: ['55P02'] },
    {
      sql: `CREATE EVENT TRIGGER intruder ON ddl_command_start EXECUTE FUNCTION public.intrude()`,
      refusal: ['42501', '42883']
    },
    { sql: `SELECT pg_create_physical_replication_slot('intruder')` },
    { sql: `SELECT pg_create_logical_replication_slot('intruder', 'pgoutput')`, refusal: ['42501', '55000'] },
    { sql: `CREATE SUBSCRIPTION intruder CONNECTION ${connection} PUBLICATION p WITH (connect = false)` },
    { sql: 'CREATE PUBLICATION intruder FOR ALL TABLES' },
    { sql: `SELECT pg_replication_origin_create('intruder')` },
    { sql: 'SELECT pg_reload_conf()' },
    { sql: 'SELECT pg_rotate_logfile()' },
    { sql: 'SELECT pg_switch_wal()' },
    { sql: `SELECT pg_create_restore_point('intruder')` },
    { sql: `SELECT pg_backup_start('intruder')` },
    { sql: 'SELECT pg_promote()' },
    { sql: 'SELECT pg_stat_reset()' },
    { sql: `SELECT pg_stat_reset_shared('bgwriter')` },
    { sql: 'CHECKPOINT' }
  ]
}

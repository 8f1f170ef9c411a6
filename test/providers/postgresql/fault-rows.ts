/** One way in which the server, or somebody on it, can fail the broker. */
export interface FaultRow {
  /** Stands as `[row 7]` in the titles of the tests that show it. */
  readonly row: number
  readonly fault: string
  /** What the platform is answered in the end. */
  readonly answer: string
  /** Files beside this one; a test in each carries the number. */
  readonly files?: readonly string[]
  /** What is the framework's to do: `file: beginning of the title`, from the folder of the tests; a placeholder is `…`. */
  readonly framework?: readonly string[]
  /** Why there is no test. */
  readonly pending?: string
}

const inProgress = [
  'core/operations.test.ts: operation on …: a failed attempt is described, tried again, and succeeds',
  'core/sync-operations.test.ts: PUT instance: a failure that lasts answers 503 with the description and Retry-After'
]

/** Every fault that is known, and the test that shows how it ends. `fault-rows.test.ts` keeps it true. */
export const faultRows: readonly FaultRow[] = [
  {
    row: 1,
    fault: 'the server is down, or dies, at any step',
    answer: 'in progress, synchronously 503',
    files: [
      'fault-server.test.ts',
      'fault-platform.test.ts',
      'fault-crash.test.ts',
      'kill-sweep.test.ts',
      'faults.test.ts'
    ],
    framework: inProgress
  },
  {
    row: 2,
    fault: 'the server shuts down (57P01), starts or recovers (57P03)',
    answer: 'in progress, synchronously 503',
    files: ['fault-server.test.ts', 'faults.test.ts']
  },
  {
    row: 3,
    fault: 'the admin is locked (28000), or its password is another (28P01)',
    answer: 'an alarm at once; in progress, synchronously 503, never 4xx',
    files: ['fault-server.test.ts', 'fault-platform.test.ts', 'faults.test.ts']
  },
  { row: 4, fault: 'the server is full (53300)', answer: 'in progress, 503', files: ['fault-server.test.ts'] },
  { row: 5, fault: 'the database is at its connection limit', answer: 'as ever', files: ['faults.test.ts'] },
  {
    row: 6,
    fault: 'the disk is full (53100), also within DROP DATABASE, which ends the server',
    answer: 'an alarm at once; in progress, synchronously 503',
    files: ['fault-disk.test.ts']
  },
  { row: 7, fault: 'a crash within CREATE DATABASE', answer: 'as ever', files: ['fault-crash.test.ts'] },
  {
    row: 8,
    fault: 'a crash within DROP DATABASE leaves it invalid',
    answer: 'as ever',
    files: ['fault-crash.test.ts', 'faults.test.ts']
  },
  { row: 9, fault: 'sessions in the template of databases', answer: 'as ever', files: ['fault-tenant.test.ts'] },
  {
    row: 10,
    fault: 'a name is taken by somebody else',
    answer: 'as ever, with another name; 500 when parts of the instance have it already',
    files: ['faults.test.ts', 'fault-tenant.test.ts']
  },
  {
    row: 11,
    fault: 'role or database exist from a try that crashed, or are made at the same time',
    answer: 'as if it were the first time',
    files: ['repeatability.test.ts', 'kill-sweep.test.ts']
  },
  {
    row: 12,
    fault: 'the same request while the first still runs',
    answer: '202 with the same operation, 409 when it differs, 422 ConcurrencyError for other operations',
    files: ['faults.test.ts'],
    framework: [
      'routes/concurrency.test.ts: PUT instance: 40 identical ones at once',
      'routes/concurrency.test.ts: PUT instance, PUT binding: 20 conflicting ones at once',
      'routes/service-instances.test.ts: PUT instance: running asynchronously',
      'routes/service-instances.test.ts: PATCH instance: running',
      'routes/service-bindings.test.ts: DELETE binding: running'
    ]
  },
  {
    row: 13,
    fault: 'deprovision while bindings exist, whose users come back again and again',
    answer: '202 or 200',
    files: ['life.test.ts', 'fault-tenant.test.ts'],
    framework: ['routes/service-instances.test.ts: DELETE instance: with bindings left']
  },
  {
    row: 14,
    fault: 'deprovision during provision',
    answer: '202; the provision is halted, and nothing is left',
    files: ['faults.test.ts'],
    framework: [
      'routes/service-instances.test.ts: DELETE instance: during an asynchronous create',
      'routes/service-instances.test.ts: DELETE instance: during a synchronous create',
      'routes/service-bindings.test.ts: DELETE binding: during a create'
    ]
  },
  {
    row: 15,
    fault: 'sessions in the database at deprovision',
    answer: '202 or 200',
    files: ['life.test.ts', 'fault-tenant.test.ts']
  },
  {
    row: 16,
    fault: 'a superuser’s session in the database, which a plain admin may not end (42501)',
    answer: 'an alarm; in progress until it leaves',
    files: ['fault-tenant.test.ts']
  },
  { row: 17, fault: 'a prepared transaction', answer: 'as ever', files: ['settings.test.ts'] },
  {
    row: 18,
    fault: 'a logical replication slot in use, or a subscription, in the database (55006)',
    answer: 'in progress until it is gone; a slot that is not in use goes along',
    files: ['fault-tenant.test.ts']
  },
  {
    row: 19,
    fault: 'unbind of a login that owns objects, large objects, default privileges',
    answer: '200',
    files: ['life.test.ts']
  },
  {
    row: 20,
    fault: 'unbind of a login that other tenants granted things to',
    answer: '200',
    files: ['isolation.test.ts']
  },
  {
    row: 21,
    fault: 'unbind while another binding’s transaction holds a lock (55P03)',
    answer: '503, with the login disabled; never success',
    files: ['faults.test.ts']
  },
  {
    row: 22,
    fault: 'unbind of a login that is gone',
    answer: '200 when the binding is known, else 410',
    files: ['fault-tenant.test.ts'],
    framework: ['routes/service-bindings.test.ts: PUT, DELETE binding: the order of refusals']
  },
  {
    row: 23,
    fault: 'the database was dropped behind the broker’s back',
    answer: '500 with a clear description',
    files: ['life.test.ts', 'fault-tenant.test.ts']
  },
  {
    row: 24,
    fault: 'bind to an unknown instance',
    answer: '404',
    framework: ['routes/service-bindings.test.ts: PUT, DELETE binding: the order of refusals']
  },
  {
    row: 25,
    fault: 'the answer to a bind is lost',
    answer: '200 with the same credentials',
    files: ['life.test.ts'],
    framework: [
      'routes/concurrency.test.ts: PUT binding: 20 identical ones at once',
      'routes/service-bindings.test.ts: PUT binding: identical but for what does not count'
    ]
  },
  {
    row: 26,
    fault: 'a tenant changes its own password',
    answer:
      'a repair sets the one that was answered, another attempt at the bind a new one; an unbind shuts out either',
    files: ['fault-tenant.test.ts', 'repair.test.ts']
  },
  {
    row: 27,
    fault: 'a tenant changes its own settings',
    answer: 'as ever; a repair resets what is the plan’s to set, limits of connections cannot be changed by it',
    files: ['fault-tenant.test.ts', 'repair.test.ts']
  },
  {
    row: 28,
    fault: 'an update to a plan that is smaller than what is used',
    answer: '422, which says by how much',
    files: ['storage.test.ts']
  },
  {
    row: 29,
    fault: 'more storage is used than the quota',
    answer: 'bindings read and delete, until there is room again',
    files: ['storage.test.ts']
  },
  {
    row: 30,
    fault: 'an extension that is not trusted (42501) or not installed (0A000)',
    answer: '400, on an update 422',
    files: ['extensions.test.ts']
  },
  {
    row: 31,
    fault: 'the admin’s login is replaced by another (42501 on every older role)',
    answer: 'as ever, where a group without a login is the admin',
    files: ['admin-role.test.ts']
  },
  {
    row: 32,
    fault: 'the backup before a delete fails',
    answer: 'failed with instance_usable false; the database is kept, closed',
    files: ['backup.test.ts']
  },
  {
    row: 33,
    fault: 'the time for tries is over, and the work half-done',
    answer: 'failed; a delete removes what there is, an update can be repeated',
    files: ['fault-platform.test.ts'],
    framework: [
      "core/operations.test.ts: operation: the plan's maximum_polling_duration ends the tries",
      'core/operations.test.ts: operation on …: rejected ends at once, is removable, and repeatable',
      'core/operations.test.ts: PATCH instance: a failed asynchronous update leaves plan and parameters'
    ]
  },
  {
    row: 34,
    fault: 'connections are lost without a word to either side, as behind a firewall; new ones work',
    answer: 'as ever, some seconds later',
    files: ['fault-network.test.ts']
  }
]

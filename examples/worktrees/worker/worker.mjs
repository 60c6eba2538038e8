// Does the jobs: the result of each is its text in capital letters.
import pg from 'pg'

const { POSTGRES_HOST: host, POSTGRES_PORT: port } = process.env
const database = new pg.Client({ host, port, user: 'postgres', database: 'postgres' })
await database.connect()
console.log(`works for ${host}:${port}`)
process.on('SIGTERM', () => process.exit(0))
for (;;) {
  const done = await database.query(
    'update jobs set result = upper(text) where result is null returning id',
  )
  done.rows.forEach(({ id }) => console.log(`job ${id} is done`))
  await new Promise((resolve) => setTimeout(resolve, 100))
}

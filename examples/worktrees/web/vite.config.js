// The address of the API is that of this worktree.
export default {
  server: { proxy: { '/api': { target: process.env.API_URL, rewrite: (path) => path.slice(4) } } },
}

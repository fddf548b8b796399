/** For a service of a test: ports of 127.0.0.1 that are free, and a drain that does not wait for load balancers. */
export const localEnv = {
  HOST: '127.0.0.1',
  PORT: '0',
  ADMIN_HOST: '127.0.0.1',
  ADMIN_PORT: '0',
  DRAIN_DELAY_MS: '0',
} as const

// The health check of a container: `node healthcheck.ts PORT` ends with 0 when the process on that port says that it is ready.

const response = await fetch(`http://127.0.0.1:${process.argv[2]}/health/ready`, { signal: AbortSignal.timeout(2_000) }).catch(
  () => undefined,
);
process.exitCode = response?.ok ? 0 : 1;

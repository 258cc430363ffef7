import { createServer } from 'node:net';

/*
 * Run inside a host's network namespace: opens a listening socket there and hands it to the parent,
 * which then accepts the host's connections in its own process.
 */
const [port = '0', address = '127.0.0.1'] = process.argv.slice(2);
const server = createServer();
server.once('error', (error) => {
  process.stderr.write(`cannot listen on ${address}:${port}: ${error.message}\n`);
  process.exit(1);
});
server.listen(Number(port), address, () => {
  process.send?.('listening', server, {}, () => process.disconnect());
  server.close();
});

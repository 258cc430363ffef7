import { once } from 'node:events';
import { createServer } from 'node:net';
import { podPort } from './services-objects.ts';

/* All pods of the services bench: whoever connects is told which address it has reached. Ends with its parent. */

process.on('disconnect', () => process.exit());
const server = createServer((socket) => {
  socket.on('error', () => {});
  socket.end(socket.localAddress ?? '');
});
server.listen(podPort, '0.0.0.0');
await once(server, 'listening');
process.send?.('ready');

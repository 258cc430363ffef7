import { connect } from 'node:net';

/*
 * Run inside a host's network namespace: for every {id, port, address} that the parent sends, opens a
 * connection there and hands it over, or says why it cannot. Ends with the parent.
 */
interface Wanted {
  readonly id: number;
  readonly port: number;
  readonly address: string;
}

process.on('message', ({ id, port, address }: Wanted) => {
  const socket = connect({ port, host: address, allowHalfOpen: true, noDelay: true });
  // What the other side says first is the parent's to read.
  socket.pause();
  socket.once('connect', () => process.send?.({ id }, socket));
  socket.once('error', (error) => process.send?.({ id, error: error.message }));
});
process.once('disconnect', () => process.exit(0));

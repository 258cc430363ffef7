import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { parseListeners, portHolder } from './port-holder.ts';

test('listeners are found by port, and connections are none', () => {
  const line = (local: string, state: string, inode: string) =>
    `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0000 100 0 0 10 0`;
  const table = [
    '  sl  local_address rem_address   st tx_queue',
    line('00000000:280A', '0A', '111'),
    line('0100007F:280A', '01', '222'),
    line('0100007F:0050', '0A', '333'),
  ];
  assert.deepEqual(parseListeners(table.join('\n'), 10250), ['111']);
  assert.deepEqual(parseListeners(table.join('\n'), 443), []);
});

test('a process that listens is named', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  assert.match((await portHolder(port)) ?? '', new RegExp(`\\(process ${process.pid}\\)$`));
  server.close();
  await once(server, 'close');
  assert.equal(await portHolder(port), undefined);
});

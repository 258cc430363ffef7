import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ENDPOINT_SLICES, SERVICES } from '../test/apiserver/kinds.ts';
import { StandInApiServer } from '../test/apiserver/server.ts';
import type { WorldTask } from './services.ts';
import { podIps, podPort, serviceObject, sliceObject, virtualIp } from './services-objects.ts';

/*
 * What surrounds the subject of the services bench, in its network namespace: the API server, and a client that tries
 * virtual addresses. Answers each message with one. Ends with the connection to its parent.
 */

process.on('disconnect', () => process.exit());

const [dir = ''] = process.argv.slice(2);
const server = await StandInApiServer.start({ endpointSlices: false, backlogLimit: 2 ** 30 });
const kubeconfig = server.kubeconfigFor('system:kube-proxy', {}, join(dir, 'kubeconfig'));
const now = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;

process.on('message', (task: WorldTask) => {
  void perform(task).then((result) => process.send?.(result));
});
process.send?.(kubeconfig);

async function perform(task: WorldTask): Promise<unknown> {
  switch (task.do) {
    case 'fill':
      for (let i = 0; i < task.services; i++) put(i, 0);
      return {};
    case 'await':
      for (const i of task.services) await answering(i, 0, 5);
      return now();
    case 'add':
      put(task.service, 0);
      return measure(task.service, 0);
    case 'change':
      server.store.put(ENDPOINT_SLICES, sliceObject(task.service, task.round));
      return measure(task.service, task.round);
    case 'first':
      return firstPackets(task.services);
    default:
      throw new Error(`unknown task ${JSON.stringify(task satisfies never)}`);
  }
}

function put(i: number, round: number): void {
  server.store.put(SERVICES, serviceObject(i));
  server.store.put(ENDPOINT_SLICES, sliceObject(i, round));
}

/** Milliseconds until the Service's address leads to what its slice says now. */
async function measure(i: number, round: number): Promise<number> {
  const from = now();
  await answering(i, round, 1);
  return now() - from;
}

async function answering(i: number, round: number, pauseMs: number): Promise<void> {
  const ip = virtualIp(i);
  const pods = podIps(i, round);
  for (let tries = 0; !pods.includes(await answerOf(ip)); tries++) {
    if (tries > 120_000) throw new Error(`${ip} does not answer`);
    await delay(pauseMs);
  }
}

/** Which pod answers: each says its own address; '' when nobody does. */
function answerOf(ip: string): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const socket = connect({ host: ip, port: 80 });
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk.toString();
  });
  socket.on('error', () => {});
  socket.on('close', () => resolve(text));
  return promise;
}

/** Milliseconds until connected: by virtual address and straight to a pod, in turn. */
async function firstPackets(services: readonly number[]): Promise<{ virtual: number[]; direct: number[] }> {
  const virtual: number[] = [];
  const direct: number[] = [];
  for (const i of services) {
    virtual.push(await connected(virtualIp(i), 80));
    direct.push(await connected(podIps(i, 0)[0] ?? '', podPort));
  }
  return { virtual, direct };
}

function connected(ip: string, port: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const from = now();
  const socket = connect({ host: ip, port }, () => {
    const took = now() - from;
    socket.destroy();
    socket.once('close', () => resolve(took));
  });
  socket.once('error', reject);
  return promise;
}

import type { KubeletConfiguration } from '../config/kinds.ts';
import { printKubeletConfig } from '../config/print-config.ts';
import { answerJson } from './answer.ts';
import type { Endpoint } from './endpoint.ts';

/** `/configz`: the configuration in force. */
export function configzEndpoint(kubelet: KubeletConfiguration): Endpoint {
  const text = JSON.stringify({ kubeletconfig: printKubeletConfig(kubelet) });
  return { path: '/configz', methods: ['GET'], handle: async (_request, response) => answerJson(response, text) };
}

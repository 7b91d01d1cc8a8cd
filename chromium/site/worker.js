// Python in a Web Worker; the page sends calls and gets the answers.
import { start } from "/host.js";

const host = start();

onmessage = async ({ data: [number, name, args] }) => {
  try {
    postMessage([number, await (await host).call(name, args), null]);
  } catch (error) {
    postMessage([number, null, String(error)]);
  }
};

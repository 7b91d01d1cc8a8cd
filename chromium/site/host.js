// Starts Python, with the package and the programs of the tests, in a page or in a worker.
import { loadPyodide } from "/pyodide/pyodide.mjs";

const CALL = `
import json
from importlib import import_module

async def call(name, arguments):
    module, _, function = name.rpartition(".")
    return json.dumps(await getattr(import_module(f"programs.{module}"), function)(*json.loads(arguments)))

call
`;

export async function start() {
  const pyodide = await loadPyodide({ indexURL: "/pyodide/" });
  const { wheels } = await (await fetch("/needs.json")).json();
  await pyodide.loadPackage(wheels.package, { messageCallback() {}, errorCallback: console.error });
  pyodide.unpackArchive(await (await fetch("/programs.zip")).arrayBuffer(), "zip");
  const call = pyodide.runPython(CALL);
  return {
    call: (name, args) => call(name, args),
    load: (more) => pyodide.loadPackage(wheels[more], { messageCallback() {}, errorCallback: console.error }),
  };
}

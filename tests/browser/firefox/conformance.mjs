// Runs facts of the conformance suite, each tab its share of them; gives the name of each case, and what went wrong.
import { inFirefox } from "./driver.mjs";

await inFirefox(async (browser, { url, shares }) => {
  const run = async (share) => {
    const page = await browser.newPage();
    page.on("pageerror", (error) => console.error(error));
    await page.goto(`${url}/index.html`);
    await page.waitForFunction(() => window.host !== undefined, { timeout: 0 });
    await page.evaluate(() => window.host.load("suite"));
    return JSON.parse(await page.evaluate(async (args) => await window.host.call("suite.run", args), JSON.stringify([share])));
  };
  return (await Promise.all(shares.map(run))).flat();
});

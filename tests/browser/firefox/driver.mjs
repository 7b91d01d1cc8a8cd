// Starts Debian's own Firefox, which puppeteer-core drives over WebDriver BiDi, and prints what a program in it gave.
import { createRequire } from "node:module";

/** Run a program with a browser that ends with it; the value it returns is printed as JSON. */
export async function inFirefox(program) {
  const { packages, firefox, ...settings } = JSON.parse(process.argv[2]);
  const { default: puppeteer } = createRequire(`${packages}/`)("puppeteer-core");
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: firefox,
    headless: true,
    protocolTimeout: 0, // the caller ends a browser that hangs
  });
  try {
    console.log(JSON.stringify(await program(browser, settings)));
  } finally {
    await browser.close();
  }
}

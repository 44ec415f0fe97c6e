// Language servers and ports with the TypeScript client named by E2E_PACKAGE, in a sandbox of the base snapshot.
const test = require('node:test')
const assert = require('node:assert/strict')

const name = process.env.E2E_PACKAGE
const sdk = require(name)
const daytona = new sdk.Daytona({ apiKey: process.env.DAYTONA_API_KEY, apiUrl: process.env.DAYTONA_API_URL })

let passed = 0
let failed = 0
function check(title, body) {
  test(title, { timeout: 60_000 }, async () => {
    try {
      await body()
      passed++
    } catch (e) {
      failed++
      throw e
    }
  })
}

let box
test.before(async () => {
  box = await daytona.create()
})
test.after(async () => {
  await box?.delete()
  await daytona[Symbol.asyncDispose]()
  console.log(`${name.replace(/\W/g, '')}lsp: ${passed} passed, ${failed} failed`)
})

const programs = {
  python: ['dog.py', 'class Dog:\n    def bark(self): pass\n\nDog().\n', [3, 6], 'bark()', 'Dog'],
  typescript: ['dog.ts', 'class Dog { bark(): void {} }\nconst d = new Dog()\nd.\n', [2, 2], 'bark', 'Dog'],
  javascript: ['dog.js', 'class Dog { bark() {} }\nconst d = new Dog()\nd.\n', [2, 2], 'bark', 'Dog'],
}

for (const [language, [file, text, [line, character], label, symbol]] of Object.entries(programs)) {
  check('language server of ' + language, async () => {
    const dir = '/home/daytona/' + language
    await box.fs.createFolder(dir, '755')
    await box.fs.uploadFile(Buffer.from(text), `${dir}/${file}`)
    const server = await box.createLspServer(language, dir)
    await assert.rejects(server.documentSymbols(`${dir}/${file}`), /start/)
    await server.start()
    await server.didOpen(`${dir}/${file}`)
    const symbols = await server.documentSymbols(`${dir}/${file}`)
    const found = symbols.find((s) => s.name === symbol)
    assert.deepEqual([found.kind, found.location.uri, found.location.range.start.line], [5, `file://${dir}/${file}`, 0])
    const list = await server.completions(`${dir}/${file}`, { line, character })
    assert.ok(list.items.some((i) => i.label === label), JSON.stringify(list.items.slice(0, 5)))
    assert.equal(typeof list.isIncomplete, 'boolean')
    assert.ok((await server.completions(`${dir}/${file}`, { line: 0, character: 0 })).items)
    assert.ok((await server.sandboxSymbols('Dog')).some((s) => s.name === 'Dog'))
    await server.didClose(`${dir}/${file}`)
    await server.stop()
  })
}

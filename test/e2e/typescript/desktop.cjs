// The desktop with the TypeScript client named by E2E_PACKAGE. Runs when E2E_DESKTOP is set: the suite desktop.
const test = require('node:test')
const assert = require('node:assert/strict')

const name = process.env.E2E_PACKAGE
if (!process.env.E2E_DESKTOP) {
  console.log(`${name.replace(/\W/g, '')} desktop: skipped, the suite desktop is not asked for`)
  process.exit(0)
}
const sdk = require(name)
const daytona = new sdk.Daytona({ apiKey: process.env.DAYTONA_API_KEY, apiUrl: process.env.DAYTONA_API_URL })

let passed = 0
let failed = 0
function check(title, body) {
  test(title, { timeout: 120_000 }, async () => {
    try {
      await body()
      passed++
    } catch (e) {
      failed++
      throw e
    }
  })
}
async function until(what, ask) {
  for (const end = Date.now() + 20_000; ; ) {
    const got = await ask().catch(() => undefined)
    if (got) return got
    assert.ok(Date.now() < end, 'waited too long for: ' + what)
    await new Promise((r) => setTimeout(r, 50))
  }
}

let box
let desk
test.before(async () => {
  box = await daytona.create({ snapshot: 'desktop' })
  desk = box.computerUse
  await desk.start()
})
test.after(async () => {
  await box?.delete()
  await daytona[Symbol.asyncDispose]?.()
  console.log(`${name.replace(/\W/g, '')} desktop: ${passed} passed, ${failed} failed`)
})

check('status, display, screenshot', async () => {
  assert.equal((await desk.getStatus()).status, 'active')
  const info = await desk.display.getInfo()
  assert.deepEqual([info.displays[0].width, info.displays[0].height], [1024, 768])
  const shot = await desk.screenshot.takeFullScreen(true)
  assert.equal(Buffer.from(shot.screenshot, 'base64').subarray(1, 4).toString(), 'PNG')
  const small = await desk.screenshot.takeCompressed({ format: 'jpeg', quality: 70, scale: 0.5 })
  assert.equal(Buffer.from(small.screenshot, 'base64').readUInt16BE(0), 0xffd8)
})

check('type into a program and read it', async () => {
  await box.process.executeCommand('setsid xterm -e "cat > typed" >/dev/null 2>&1 </dev/null &')
  const window = await until('the terminal', async () => (await desk.display.getWindows()).windows.find((w) => w.isActive && w.width > 200))
  await desk.mouse.click(window.x + 50, window.y + 50)
  await desk.keyboard.type('typed text\n')
  await desk.keyboard.hotkey('ctrl+d')
  assert.equal(await until('the file', async () => (await box.process.executeCommand('cat typed')).result), 'typed text\n')
  await assert.rejects(desk.keyboard.press('@'), /shift/)
  assert.deepEqual(Object.values(await desk.mouse.move(5, 6)).slice(0, 2), [5, 6])
  assert.deepEqual(Object.values(await desk.mouse.getPosition()).slice(0, 2), [5, 6])
})

if (sdk.Daytona && name === '@daytona/sdk') {
  check('accessibility', async () => {
    await box.process.executeCommand('setsid l3afpad >/dev/null 2>&1 </dev/null &')
    const found = await until('the editor', async () => (await desk.accessibility.findNodes({ role: 'text', states: ['editable'] })).matches?.[0])
    await desk.accessibility.setNodeValue(found.id, 'set')
    await desk.accessibility.focusNode(found.id)
    const tree = await desk.accessibility.getTree({ scope: 'all', maxDepth: 1 })
    assert.ok(tree.root.children.length >= 1)
  })
}

check('recording', async () => {
  const film = await desk.recording.start('ts')
  await new Promise((r) => setTimeout(r, 1000))
  const done = await desk.recording.stop(film.id)
  assert.equal(done.status, 'completed')
  assert.ok((await desk.recording.list()).recordings.some((r) => r.id === film.id))
  await desk.recording.delete(film.id)
})

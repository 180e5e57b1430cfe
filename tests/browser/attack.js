// All that a page tries on the node at `node`: what each trick has read, '' for nothing.
//
// `reads` and `writes` are [method, path] pairs. What is written is looked for at the node. Each
// trick ends with an event or a promise of its own, so that nothing waits for a time.
async ({ node, reads, writes }) => {
  const got = {}
  const attempt = async (name, trick) => {
    try { got[name] = String((await trick()) ?? '') } catch { got[name] = '' }
  }
  const first = (target, ...names) => new Promise((resolve) => {
    for (const name of names) target.addEventListener(name, () => resolve(name), { once: true })
  })
  const load = async (name, fields) => {
    const element = Object.assign(document.createElement(name), fields)
    const ended = first(element, 'load', 'error')
    document.documentElement.appendChild(element)
    await ended
    return element
  }

  // -- reads --
  for (const [method, path] of reads)
    await attempt(`fetch ${path}`, async () => (await fetch(node + path, { method })).text())
  await attempt('fetch with a cookie', async () =>
    (await fetch(node + '/kv/secret', { credentials: 'include' })).text())
  await attempt('fetch no-cors', async () =>
    (await fetch(node + '/kv/secret', { mode: 'no-cors' })).text())
  await attempt('xhr', async () => {
    const request = new XMLHttpRequest()
    request.open('GET', node + '/kv/secret')
    request.send()
    await first(request, 'loadend')
    return request.responseText
  })
  await attempt('script', async () => {
    globalThis.stolen = ''
    await load('script', { src: node + '/kv/secret.js' })
    return globalThis.stolen
  })
  await attempt('module', async () => {
    globalThis.stolen = ''
    await import(node + '/kv/secret.js?module')
    return globalThis.stolen
  })
  await attempt('image', async () =>
    (await load('img', { src: node + '/kv/secret.png' })).naturalWidth || '')
  await attempt('style sheet', async () => {
    await load('link', { rel: 'stylesheet', href: node + '/kv/secret.css' })
    return getComputedStyle(document.documentElement).getPropertyValue('--stolen')
  })
  await attempt('whether a key is there', async () => {
    const outcome = (path) => fetch(node + path, { mode: 'no-cors' }).then(() => 'an answer', String)
    return await outcome('/kv/secret') === await outcome('/kv/absent') ? '' : 'told'
  })
  await attempt('event stream', async () => {
    const stream = new EventSource(node + '/watch')
    const ended = await first(stream, 'open', 'error')
    stream.close()
    return ended === 'open' ? 'open' : ''
  })
  await attempt('web socket', async () => {
    const socket = new WebSocket(node.replace('http', 'ws') + '/watch')
    const ended = await first(socket, 'open', 'error')
    socket.close()
    return ended === 'open' ? 'open' : ''
  })
  await attempt('frame', async () =>
    (await load('iframe', { src: node + '/kv/secret' })).contentDocument.body.textContent)
  await attempt('frame of a stored page', async () =>
    (await load('iframe', { src: node + '/kv/page.html' })).contentDocument.body.textContent)
  await attempt('window', async () => {
    const opened = window.open(node + '/kv/secret')
    // it has another origin as soon as the answer is there, or the same and a body
    while (opened.location.href === 'about:blank' || opened.document.readyState !== 'complete')
      await new Promise((resolve) => { const port = new MessageChannel()
        port.port1.onmessage = resolve; port.port2.postMessage(0) })
    return opened.document.body.textContent
  })

  // -- writes --
  const json = JSON.stringify({ operations: [{ put: 'written', value: '1' }] })
  for (const [method, path] of writes) {
    const body = method === 'DELETE' ? undefined : path === '/batch' ? json : 'written'
    await attempt(`${method} ${path}`, async () => (await fetch(node + path, { method, body })).text())
    if (method !== 'POST') continue
    // as a beacon is sent: no preflight, and nobody reads the answer
    await attempt(`beacon ${path}`, async () =>
      (await fetch(node + path, { method, body, mode: 'no-cors', keepalive: true })).text())
  }
  for (const [path, enctype] of [
    ['/leave?form', 'application/x-www-form-urlencoded'],
    ['/batch?form', 'text/plain'],
    ['/import?form', 'multipart/form-data'],
  ]) {
    await attempt(`form ${path}`, async () => {
      const frame = await load('iframe', { name: 'answer of ' + node + path })
      const form = document.documentElement.appendChild(Object.assign(
        document.createElement('form'),
        { action: node + path, method: 'POST', enctype, target: frame.name }))
      // a form of text/plain gives NAME=VALUE: JSON, with an = in a string of it
      form.appendChild(Object.assign(document.createElement('input'), {
        name: '{"operations":[{"put":"written","value":"', value: '"}]}' }))
      const ended = first(frame, 'load')
      form.submit()
      await ended
      return frame.contentDocument.body.textContent
    })
  }
  return got
}

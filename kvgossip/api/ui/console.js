// The shell: what stands around every page - navigation, the token, the theme, and whether the node
// answers. A page is a module with a `title` and `open(view)`; it draws what it knows whenever it
// likes, and everything that it began ends with `view.signal`.

import { ask, every, json, path, told, token } from './api.js'
import { h, render } from './dom.js'
import { ago, ageOf, count } from './format.js'
import * as cluster from './pages/cluster.js'
import * as convergence from './pages/convergence.js'
import * as keys from './pages/keys.js'
import * as releases from './pages/releases.js'
import * as safety from './pages/safety.js'

const PAGES = { cluster, keys, convergence, releases, safety }
const LOOK_MS = 3000
const SECOND_MS = 1000
const THEME = 'kvgossip.theme'

const shell = { cluster: null, problem: null, silentSince: null, asking: false, refused: '' }
let shown = null

// -- the pages --

function place() {
  const [name, query] = location.hash.slice(1).split('?')
  return { name: name in PAGES ? name : 'cluster', query: new URLSearchParams(query) }
}

function open() {
  const { name, query } = place()
  if (shown?.name === name) return shown.page.go?.(query)
  shown?.controller.abort()
  const controller = new AbortController()
  const page = PAGES[name]
  const main = document.querySelector('main')
  render(main)
  shown = { name, page: {}, controller }
  const view = {
    signal: controller.signal,
    query,
    cluster: () => shell.cluster,
    draw: (...tree) =>
      !controller.signal.aborted && render(main, h('h1', { class: 'unseen' }, page.title), tree),
  }
  shown.page = page.open(view) ?? {}
  document.title = `${page.title} · kvgossip`
  draw()
}

// Closed while nobody looks: a hidden tab costs the node nothing.
function pause() {
  if (document.hidden) {
    shown?.controller.abort()
    shown = null
  } else open()
}

// -- what the shell itself asks --

async function look() {
  if (document.hidden) return
  try {
    shell.cluster = await json('cluster')
    shell.problem = null
  } catch (error) {
    shell.problem = error
  }
  draw()
  shown?.page.draw?.()
}

function heard({ detail: answered }) {
  if (answered === (shell.silentSince === null)) return
  shell.silentSince = answered ? null : Date.now()
  draw()
}

// -- the token --

function askForToken() {
  if (shell.asking) return
  shell.asking = true
  draw()
  document.querySelector('#token').focus()
}

async function enter(event) {
  event.preventDefault()
  const field = document.querySelector('#token'),
    before = token.get()
  token.set(field.value.trim())
  try {
    await ask('openapi.json', { method: 'HEAD' })
    Object.assign(shell, { asking: false, refused: '' })
    field.value = ''
    restart()
  } catch (error) {
    token.set(before)
    shell.refused = error.status === 401 ? 'This node does not know that token.' : error.message
  }
  draw()
}

function forget() {
  token.set('')
  shell.cluster = null
  restart()
}

function restart() {
  shown?.controller.abort()
  shown = null
  open()
  look()
}

const dialog = () =>
  h(
    'section',
    { key: 'token', class: 'panel token', 'aria-label': 'Token' },
    h(
      'form',
      { onsubmit: enter },
      h('label', { for: 'token' }, 'This node asks for a token'),
      h(
        'p',
        {},
        'It stays in this tab, and goes to this node alone. ',
        h('code', {}, 'kvgossip token new NAME --admin'),
        ' makes one.',
      ),
      h(
        'div',
        { class: 'line' },
        h('input', {
          id: 'token',
          type: 'password',
          autocomplete: 'off',
          required: true,
          'aria-describedby': 'refused',
        }),
        h('button', { class: 'first' }, 'Use it'),
      ),
      h('p', { id: 'refused', role: 'alert', class: 'bad' }, shell.refused),
    ),
  )

// -- the theme --

function setTheme(name) {
  if (name === 'auto') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = name
  localStorage.setItem(THEME, name)
}

// -- drawing --

function pill() {
  if (shell.silentSince !== null)
    return h(
      'span',
      { class: 'pill' },
      h('i', { class: 'dot bad' }),
      `no answer for ${ago(ageOf(shell.silentSince)).replace(' ago', '')}`,
    )
  const found = shell.cluster?.findings
  if (!found || shell.cluster.findings_age_s == null) return null
  const grave = found.length > 0
  return h(
    'a',
    { class: 'pill', href: '#cluster' },
    h('i', { class: grave ? 'dot warn' : 'dot' }),
    grave ? count(found.length, 'finding') : 'nothing to look at',
  )
}

function where() {
  const seen = shell.cluster
  if (!seen) return shell.problem?.status === 403 ? h('span', {}, shell.problem.message) : null
  return h('span', {}, 'as ', h('code', {}, seen.asked), ' sees it, ', ago(ageOf(seen.at_ms)))
}

function find(event) {
  event.preventDefault()
  const text = event.target.elements.text.value.trim()
  const named = shell.cluster?.members.some((each) => each.name === text)
  location.hash = named ? path('cluster', { member: text }) : path('keys', { find: text })
}

function link(name) {
  const badge = PAGES[name].badge?.(shell.cluster) ?? 0
  return h(
    'a',
    { href: `#${name}`, 'aria-current': shown?.name === name ? 'page' : null },
    PAGES[name].title,
    badge > 0 && h('small', { title: `${count(badge, 'thing')} to look at` }, badge),
  )
}

function draw() {
  render(
    document.querySelector('header'),
    h('b', {}, shell.cluster?.cluster ?? 'kvgossip'),
    h('span', { class: 'status', role: 'status' }, pill()),
    h('span', { class: 'node' }, where()),
    h(
      'form',
      { role: 'search', onsubmit: find },
      h('input', {
        name: 'text',
        type: 'search',
        placeholder: 'Find a key, a member …   /',
        'aria-label': 'Find a key or a member',
        autocomplete: 'off',
      }),
    ),
    h(
      'select',
      { 'aria-label': 'Colours', onchange: (event) => setTheme(event.target.value) },
      ['auto', 'light', 'dark'].map((name) =>
        h(
          'option',
          {
            value: name,
            selected: name === (localStorage.getItem(THEME) ?? 'auto'),
          },
          name,
        ),
      ),
    ),
    token.get() && h('button', { onclick: forget }, 'Forget token'),
  )
  render(document.querySelector('nav'), Object.keys(PAGES).map(link))
  render(document.querySelector('#ask'), shell.asking && dialog())
}

function onKey(event) {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault()
    document.querySelector('header input').focus()
  }
}

function start() {
  render(
    document.body,
    h('header', {}),
    h('nav', { 'aria-label': 'Pages' }),
    h('div', { id: 'ask' }),
    h('main', { tabindex: -1 }),
  )
  setTheme(localStorage.getItem(THEME) ?? 'auto')
  told.addEventListener('answered', heard)
  told.addEventListener('token', askForToken)
  addEventListener('hashchange', open)
  addEventListener('keydown', onKey)
  document.addEventListener('visibilitychange', pause)
  open()
  every(LOOK_MS, look, new AbortController().signal)
  setInterval(() => {
    draw()
    shown?.page.draw?.()
  }, SECOND_MS)
}

start()

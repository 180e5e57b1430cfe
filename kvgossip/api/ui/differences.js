// The keys that differ from one member: what each of the two has, why it stays so, and how to mend
// it. The node asks the member when somebody asks; nothing here asks by itself.

import { ask, command, json, keyPath, path, Refused } from './api.js'
import { errorNote, h } from './dom.js'
import { ago, ageOf, bytes, clock, count, duration, ms, number } from './format.js'
import { shownText } from './keys/bytes.js'
import { drawDiff } from './keys/diff.js'
import { drawHolders, write } from './keys/editor.js'
import { Table } from './table.js'

const LIMIT = 200
const ABOUT = { exact: '', estimate: 'about ', at_least: 'at least ' }

export class Differences {
  constructor({ signal, changed }) {
    Object.assign(this, { signal, changed })
    this.clear(null)
  }

  clear(member) {
    Object.assign(this, {
      member,
      prefix: '',
      table: null,
      found: null,
      atMs: null,
      error: null,
      said: '',
      busy: false,
      compared: null,
      holders: null,
    })
  }

  async open(member) {
    if (member === this.member) return
    this.clear(member)
    if (member) await this.load()
    else this.changed()
  }

  async load() {
    const { member, prefix, signal } = this
    this.busy = true
    this.changed()
    try {
      const found = await json(path('differences', { member, prefix, limit: LIMIT }), { signal })
      if (member !== this.member) return
      Object.assign(this, { found, atMs: Date.now(), error: null })
      this.table ??= new Table({
        label: `Both sides of each key, here and on ${member}`,
        changed: this.changed,
        key: (each) => each.key,
        columns: this.columns(),
      })
      if (!found.differences.some((each) => each.key === this.compared?.key)) this.compared = null
    } catch (error) {
      if (signal.aborted || member !== this.member) return
      if (error.status === undefined) throw error
      this.error = error
    }
    this.busy = false
    this.changed()
  }

  ask(event) {
    event.preventDefault()
    this.prefix = event.target.elements.prefix.value
    return this.load()
  }

  // -- what can be done --

  async act(work) {
    Object.assign(this, { busy: true, error: null, said: '' })
    this.changed()
    let failed = null
    try {
      await work()
    } catch (error) {
      if (error.status === undefined) throw error
      if (error.status === 412) error.hint = 'it has changed meanwhile: look at it again'
      Object.assign(this, { holders: null })
      failed = error
    }
    await this.load()
    if (failed) this.error = failed
    this.changed()
  }

  exchange() {
    this.holders = null
    return this.act(async () => {
      const { completed, found, took_ms: took } = await command('exchange', { member: this.member })
      const brought = found ? `${count(found, 'entry', 'entries')} differed` : 'it brought nothing'
      this.said = completed ? `Exchanged in ${ms(took)}: ${brought}.` : 'The exchange was cut off.'
    })
  }

  async here(key) {
    const response = await ask(keyPath('kv', key), { also: [300, 404], signal: this.signal })
    return this.valueOf(response)
  }

  async there(key) {
    const target = path(keyPath('differences', key), { member: this.member })
    return this.valueOf(await ask(target, { also: [404], signal: this.signal }))
  }

  async valueOf(response) {
    const data = new Uint8Array(await response.arrayBuffer())
    if (response.status === 404) return { data: null, version: null, type: null, kind: null }
    const { headers } = response
    const kind = headers.get('KV-Type')
    return { kind, data, version: headers.get('KV-Version'), type: headers.get('Content-Type') }
  }

  // Write what one of the two has as a new version, which wins on all nodes; or delete it.
  write(key, side) {
    return this.act(async () => {
      const mine = await this.here(key)
      const { data, type, kind } = side === 'here' ? mine : await this.there(key)
      const merged = mine.kind ?? kind
      if (merged)
        throw new Refused(
          409,
          `${key} is a ${merged}: both sides are merged, and none is chosen`,
          'exchange now; or edit it on the page of the key',
        )
      this.holders = { by: [] }
      const options = { version: mine.version, body: data, type, wait: true }
      if (data === null) delete options.body
      await write(data === null ? 'DELETE' : 'PUT', key, options, (line) => this.hear(line))
    })
  }

  hear(line) {
    if (line.held_by && !Array.isArray(line.held_by)) this.holders.by.push(line.held_by)
    else this.holders.last = line
    this.changed()
  }

  async compare(key) {
    if (this.compared?.key === key) this.compared = null
    else
      try {
        const [mine, theirs] = await Promise.all([this.here(key), this.there(key)])
        const text = ({ data }) => (data ? shownText(data) : '')
        Object.assign(this, { compared: { key, mine: text(mine), theirs: text(theirs) } })
        this.error = null
      } catch (error) {
        if (this.signal.aborted) return
        if (error.status === undefined) throw error
        this.error = error
      }
    this.changed()
  }

  // -- drawing --

  columns() {
    return [
      {
        name: 'Key',
        by: (each) => each.key,
        cell: (each) =>
          h(
            'a',
            { class: 'mono', href: `#keys?key=${encodeURIComponent(each.key)}` },
            each.key,
          ),
      },
      { name: `${this.found.asked} has`, cell: (each) => drawSide(each, 'here') },
      { name: `${this.member} has`, cell: (each) => drawSide(each, 'there') },
      { name: 'Why it is not taken', long: true, cell: drawWhy },
      { name: 'What to do', cell: (each) => this.drawActs(each) },
    ]
  }

  drawActs({ key, here, there }) {
    const button = (words, onclick, title, rest = {}) =>
      h('button', { title, disabled: this.busy, onclick, ...rest }, words)
    const isLive = (side) => side && !side.deleted
    const isOpen = this.compared?.key === key
    return h(
      'div',
      { class: 'line' },
      (isLive(here) || isLive(there)) &&
        button(isOpen ? 'Hide' : 'Compare', () => this.compare(key), null, {
          'aria-expanded': isOpen,
        }),
      isLive(here) &&
        button(
          `Keep ${this.found.asked}’s`,
          () => this.write(key, 'here'),
          'write what is here again, as a new version for all nodes',
        ),
      there &&
        (isLive(there) || isLive(here)) &&
        button(
          there.deleted ? 'Delete it' : `Take ${this.member}’s`,
          () => this.write(key, 'there'),
          'write what is there as a new version for all nodes',
        ),
    )
  }

  draw(seen) {
    const { member, found, error, busy } = this
    if (!member) return null
    const said = seen?.members.find((each) => each.name === member)?.said
    return h(
      'section',
      { key: 'differences', class: 'panel', 'aria-label': `Keys that differ from ${member}` },
      h(
        'h2',
        {},
        `Keys that differ from ${member}`,
        h(
          'small',
          {},
          found
            ? `${summary(found)}, asked at ${clock(this.atMs)}`
            : error
              ? 'not known'
              : 'asking …',
        ),
      ),
      h(
        'div',
        { class: 'line' },
        h(
          'button',
          {
            class: 'first',
            disabled: busy,
            title: 'both end with the newer version of each key',
            onclick: () => this.exchange(),
          },
          'Exchange now',
        ),
        h(
          'form',
          { class: 'line', onsubmit: (event) => this.ask(event) },
          h('input', {
            name: 'prefix',
            value: this.prefix,
            class: 'mono',
            placeholder: 'prefix',
            'aria-label': 'Prefix',
          }),
          h('button', { disabled: busy }, 'Ask again'),
        ),
        h('a', { href: '#convergence' }, 'Close'),
        h('span', { role: 'status' }, this.said),
      ),
      error && errorNote(error, 'Write a prefix that your token may read, and ask again.'),
      [...(found?.why ?? []).map(({ text, hint }) => `${text}: ${hint}`), ...wordsOf(said)].map(
        (words) => h('p', { key: words, class: 'note' }, words),
      ),
      drawHolders(this.holders),
      found?.differences.length > 0 && this.table.draw(found.differences),
      found?.differences.length === 0 &&
        h(
          'p',
          { class: 'empty' },
          `Nothing differs${this.prefix && ` under ${this.prefix}`}: ${member} has what `,
          `${found.asked} has.`,
        ),
      this.compared && this.drawCompared(),
    )
  }

  drawCompared() {
    const { key, mine, theirs } = this.compared
    return h(
      'div',
      { key: 'compared' },
      h(
        'h2',
        { class: 'apart mono' },
        key,
        h('small', {}, `${this.member} has (−), ${this.found.asked} has (+)`),
      ),
      drawDiff(theirs, mine),
    )
  }
}

function drawSide(each, name) {
  const side = each[name]
  if (!side) return h('span', { class: 'soft' }, 'nothing')
  return [
    h('b', {}, side.deleted ? 'deleted' : bytes(side.bytes)),
    each.newer === name && ' newer ',
    h(
      'small',
      { class: 'soft', title: `${side.version}, ${clock(side.written_ms)}` },
      ` ${side.by ?? `a life ${side.site.slice(-8)}`}, ${ago(ageOf(side.written_ms))}`,
    ),
  ]
}

function drawWhy({ why }) {
  if (!why) return h('span', { class: 'soft' }, 'nothing is known against it: exchange')
  return [why.text, h('br'), h('small', { class: 'soft' }, why.hint)]
}

function summary({ keys, precision, whole, differences, unreadable, unequal_s: since }) {
  const shown = differences.length
  const more = whole ? '' : `, ${number(shown)} of them here`
  const words = `${ABOUT[precision]}${count(keys ?? shown, 'key')} ${keys === 1 ? 'differs' : 'differ'}`
  const long = since == null ? '' : `, for ${duration(since)}`
  return `${words}${more}${long}${unreadable ? `, ${number(unreadable)} cannot be read here` : ''}`
}

// What the member has said of itself that may keep it from taking anything.
function wordsOf(said) {
  if (!said) return []
  return [
    said.overload && `It takes no writes: ${said.overload}`,
    said.blocked.length && `It blocks ${said.blocked.join(', ')}.`,
    said.quarantined && `It has ${count(said.quarantined, 'value')} in quarantine.`,
    ...said.not_ready.map((each) => `It is not ready: ${each.text}`),
  ].filter(Boolean)
}

// Safety: what was taken out, what waits, and what keeps strangers out.

import { ask, command, every, json, path } from '../api.js'
import { h } from '../dom.js'
import { ago, ageOf, byName, bytes, clock, count, duration, number } from '../format.js'
import { shownText } from '../keys/bytes.js'
import { Table } from '../table.js'

export const title = 'Safety'

const LOOK_MS = 5000
const SOON_S = 14 * 86400

// How many things here ask for somebody.
export function badge(seen) {
  if (!seen) return 0
  const own = seen.members.find((each) => each.self)
  return (
    (own?.said?.quarantined ?? 0) +
    (new Set(keyringsOf(seen)).size > 1) +
    (new Set(tokensOf(seen)).size > 1)
  )
}

const keyringsOf = ({ members }) =>
  members.flatMap((each) => (each.said && each.state === 'alive' ? [each.said.keyring.join()] : []))
const tokensOf = ({ members }) =>
  members.flatMap((each) => (each.said?.tokens && each.state === 'alive' ? [each.said.tokens] : []))

export function open(view) {
  return new Safety(view)
}

class Safety {
  constructor(view) {
    Object.assign(this, {
      view,
      status: null,
      quarantine: null,
      refused: null,
      keyring: null,
      shown: null,
      said: '',
      quarantined: null,
    })
    const changed = () => this.draw()
    this.members = new Table({
      label: 'Keys and tokens of members',
      changed,
      key: (each) => each.name + each.pool,
      columns: MEMBERS,
    })
    this.values = new Table({
      label: 'Quarantined values',
      changed,
      key: (each) => each.number,
      columns: this.columns(),
    })
    every(LOOK_MS, () => this.look(), view.signal)
    this.draw()
  }

  async look() {
    const { signal } = this.view
    this.status = await json('status', { signal })
    await this.lookAtQuarantine()
    this.draw()
  }

  // Each question is a line of the node's audit log: so only when its number has changed.
  async lookAtQuarantine() {
    const { signal } = this.view
    const quarantined =
      this.view.cluster()?.members.find((each) => each.self)?.said?.quarantined ?? 0
    if (quarantined === this.quarantined) return
    this.quarantined = quarantined
    try {
      this.quarantine = await json('quarantine', { signal })
      this.refused = null
    } catch (error) {
      this.refused = error
    }
  }

  async act(work, words) {
    try {
      await work()
      this.said = words
    } catch (error) {
      this.said = `${error.message}${error.hint ? `: ${error.hint}` : ''}`
    }
    this.quarantined = null
    await this.look()
  }

  show(number) {
    if (this.shown?.number === number) this.shown = null
    else
      this.act(async () => {
        const response = await ask(path('quarantine/value', { number }))
        this.shown = { number, text: shownText(new Uint8Array(await response.arrayBuffer())) }
      }, '')
    this.draw()
  }

  columns() {
    return [
      { name: 'Key', cell: (each) => h('span', { class: 'mono' }, each.key) },
      { name: 'Size', number: true, cell: (each) => bytes(each.bytes) },
      { name: 'Deleted, says', cell: (each) => each.deleted_says },
      {
        name: 'Taken out',
        number: true,
        cell: (each) => h('span', { title: clock(each.wall_ms) }, ago(ageOf(each.wall_ms))),
      },
      {
        name: 'What to do',
        cell: (each) =>
          h(
            'div',
            { class: 'line' },
            h(
              'button',
              {
                'aria-expanded': this.shown?.number === each.number,
                onclick: () => this.show(each.number),
              },
              'Show',
            ),
            h(
              'button',
              {
                onclick: () =>
                  this.act(
                    () => command('quarantine/restore', { number: each.number }),
                    `${each.key} is written anew.`,
                  ),
              },
              'Restore',
            ),
            h(
              'button',
              {
                onclick: () =>
                  this.act(
                    () => command('quarantine/discard', { number: each.number }),
                    `${each.key} is forgotten.`,
                  ),
              },
              'Discard',
            ),
          ),
      },
    ]
  }

  draw() {
    const seen = this.view.cluster()
    this.view.draw(
      h('p', { key: 'said', role: 'status', class: this.said ? 'note' : 'unseen' }, this.said),
      this.drawQuarantine(),
      h('div', { class: 'two' }, this.drawWaiting(seen), this.drawDoors()),
      seen &&
        h(
          'section',
          { class: 'panel' },
          h('h2', {}, 'Keyrings, tokens and blocks', h('small', {}, agreement(seen))),
          this.members.draw(inOrder(seen.members)),
        ),
    )
  }

  drawQuarantine() {
    const { refused, quarantine, shown } = this
    const values = quarantine?.values ?? []
    const empty = refused?.message ?? (quarantine ? 'Empty: nothing was taken out.' : 'asking …')
    return h(
      'section',
      { class: 'panel' },
      h(
        'h2',
        {},
        'Quarantine',
        h('small', {}, 'values that the cluster had deleted and forgotten'),
      ),
      values.length > 0 ? this.values.draw(values) : h('p', { class: 'empty' }, empty),
      quarantine?.after &&
        h('p', { class: 'soft' }, `These are the first ${number(values.length)} of them.`),
      shown && h('pre', { tabindex: 0, 'aria-label': 'Quarantined value' }, shown.text),
      this.drawDrops(),
    )
  }

  // Drops that one member alone has told of.
  drawDrops() {
    const waiting = this.status?.statistics.drops_waiting ?? 0
    if (!waiting) return null
    const words = `${count(waiting, 'value')} of this node were deleted, as one member says.`
    return h(
      'div',
      { class: 'line note' },
      h('span', {}, `${words} They stay until a second one says so.`),
      h(
        'button',
        { onclick: () => this.act(() => command('quarantine/confirm'), 'They are let go.') },
        'Let them go',
      ),
    )
  }

  drawWaiting(seen) {
    const waiting =
      seen?.members.filter((each) => each.state === 'alive' && each.said?.tombstones_waiting) ?? []
    return h(
      'section',
      { class: 'panel' },
      h(
        'h2',
        {},
        'Tombstones that wait',
        h('small', {}, 'deletes that not every member has confirmed'),
      ),
      [...Map.groupBy(waiting, whomFor)].map(([whom, members]) => drawWaitingFor(whom, members)),
      !waiting.length && h('p', { class: 'empty' }, 'None: all members know of all deletes.'),
    )
  }

  drawDoors() {
    const status = this.status
    if (!status) return h('section', { class: 'panel' }, h('p', { class: 'empty' }, 'asking …'))
    const rows = {
      'Who may ask': status.tokens
        ? `who has a token: ${status.tokens.names.join(', ')}`
        : status.open.includes('http')
          ? 'everybody who reaches HTTP'
          : 'clients of this machine',
      'Tokens file':
        status.tokens && (status.tokens.problem ?? `fingerprint ${status.tokens.fingerprint}`),
      Certificate: status.tls ? certificate(status.tls) : 'none: HTTP is not encrypted',
      Keyring: status.keyring?.length
        ? `sealed; ids ${status.keyring.join(', ')}`
        : 'none: gossip is not encrypted',
      Open: status.open.length
        ? `${status.open.join(' and ')}: everybody who reaches it`
        : 'nothing',
      Identity: status.identity ?? 'none',
    }
    return h(
      'section',
      { class: 'panel' },
      h('h2', {}, `The doors of ${status.name}`),
      h(
        'dl',
        {},
        Object.entries(rows)
          .filter(([, words]) => words)
          .map(([name, words]) => h('div', { key: name }, h('dt', {}, name), h('dd', {}, words))),
      ),
      h('h2', {}, 'Blocked by this node'),
      status.blocked.length
        ? h(
            'ul',
            { class: 'plain' },
            status.blocked.map((target) =>
              h(
                'li',
                { key: target, class: 'line' },
                h('code', {}, target),
                h(
                  'button',
                  {
                    onclick: () =>
                      this.act(() => command('unblock', { target }), `${target} is heard again.`),
                  },
                  'Unblock',
                ),
              ),
            ),
          )
        : h('p', { class: 'empty' }, 'Nobody.'),
    )
  }
}

const inOrder = (members) => [...members].sort((a, b) => byName(a.name, b.name))

const whomFor = ({ said }) => [...said.waits_for].sort(byName).join(', ')

// Those that wait for the same ones, as one line.
function drawWaitingFor(whom, members) {
  const [{ name }] = members,
    others = members.length - 1
  const most = Math.max(...members.map(({ said }) => said.tombstones_waiting))
  const age = Math.max(...members.map(({ age_s: age }) => age))
  return h(
    'p',
    { key: whom },
    h('b', { class: 'mono' }, name),
    others > 0 && ` and ${count(others, 'other')}`,
    `: ${others > 0 ? 'up to ' : ''}${count(most, 'tombstone')}`,
    ` for ${whom || 'the next round'}`,
    h('small', { class: 'soft' }, ` ${ago(age)}`),
  )
}

function certificate({ names, expires_s: left, problem }) {
  const words = left < 0 ? 'has expired' : `expires in ${duration(left)}`
  return [
    left < SOON_S && h('i', { class: `dot ${left < 0 ? 'bad' : 'warn'}` }),
    ` ${(names ?? []).join(', ')} ${words}`,
    problem && `; ${problem}`,
  ]
}

function agreement(seen) {
  const keyrings = new Set(keyringsOf(seen)).size,
    tokens = new Set(tokensOf(seen)).size
  const words = [keyrings > 1 && 'keyrings differ', tokens > 1 && 'tokens differ'].filter(Boolean)
  return words.join(', ') || 'all members that answer agree'
}

const MEMBERS = [
  {
    name: 'Member',
    by: (each) => each.name,
    cell: (each) => h('span', { class: 'mono' }, each.name),
  },
  {
    name: 'Keyring ids, the sealing one first',
    by: (each) => each.said?.keyring.join(),
    cell: (each) =>
      h('span', { class: 'mono' }, each.said ? each.said.keyring.join(', ') || 'none' : '–'),
  },
  {
    name: 'Tokens',
    by: (each) => each.said?.tokens,
    cell: (each) => h('span', { class: 'mono' }, each.said ? each.said.tokens || 'no HTTP' : '–'),
  },
  { name: 'Blocks', cell: (each) => each.said?.blocked.join(', ') || '–' },
  {
    name: 'Quarantined',
    number: true,
    by: (each) => each.said?.quarantined,
    cell: (each) => number(each.said?.quarantined),
  },
  { name: 'Heard', number: true, by: (each) => each.age_s, cell: (each) => ago(each.age_s) },
]

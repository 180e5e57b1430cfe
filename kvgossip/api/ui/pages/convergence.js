// Convergence: who has the same data, what exchanges had to bring, and how that went for an hour.

import { every, follow, json } from '../api.js'
import { Differences } from '../differences.js'
import { h } from '../dom.js'
import { drawExchanges, lastWith, SPAN_S, wordsOf } from '../exchanges.js'
import { ago, byName, clock, count, number } from '../format.js'
import { DOTS } from '../map.js'
import { dataOf } from '../members.js'
import { Plot } from '../plot.js'
import { Table } from '../table.js'

export const title = 'Convergence'

const SERIES_MS = 10_000
const FEW = 6
const PLOTS = [
  {
    title: 'Found by anti-entropy',
    about: 'entries that rumors had missed',
    lines: [['found', 'residue']],
  },
  {
    title: 'Other data',
    about: 'for how long a member has shown another root',
    lines: [['longest', 'unequal']],
  },
  {
    title: 'Lag',
    about: 'from a write on another node until it was here',
    lines: [
      ['half', 'lag_p50'],
      ['99 of 100', 'lag_p99'],
    ],
  },
  {
    title: 'Requests',
    about: 'for keys over HTTP, and writes of this node',
    lines: [
      ['writes', 'writes'],
      ['requests', 'requests'],
    ],
  },
  {
    title: 'Gossip',
    about: 'on the wire of this node',
    lines: [
      ['sent', 'bytes_sent'],
      ['received', 'bytes_received'],
    ],
  },
  { title: 'Hot rumors', about: 'still being told', lines: [['rumors', 'rumors_hot']] },
  { title: 'Exchanges', about: 'with other members', lines: [['exchanges', 'exchanges']] },
  {
    title: 'Loop delay',
    about: 'how late this node’s timers are, on average',
    lines: [['delay', 'loop_delay']],
  },
  { title: 'Memory', about: 'resident', lines: [['memory', 'memory']] },
]

export function open(view) {
  const page = new Convergence(view)
  page.go(view.query)
  return page
}

class Convergence {
  constructor(view) {
    Object.assign(this, { view, series: null, exchanges: [], missed: 0, all: false })
    const changed = () => this.draw()
    this.differences = new Differences({ signal: view.signal, changed })
    this.plots = PLOTS.map((each) => new Plot({ ...each, changed }))
    this.table = new Table({
      label: 'Who has the same data',
      changed,
      key: (member) => member.name + member.pool,
      columns: this.columns(),
    })
    every(
      SERIES_MS,
      async () => {
        this.series = await json('series', { signal: view.signal })
        this.draw()
      },
      view.signal,
    )
    follow('events?since=0', (event, data) => this.hear(event, data), view.signal)
  }

  go(query) {
    this.differences.open(query.get('member'))
    this.draw()
  }

  hear(event, data) {
    if (event === 'missed') this.missed += data.missed ?? 0
    if (event !== 'exchange') return
    const since = Date.now() - SPAN_S * 1000
    this.exchanges = [...this.exchanges.filter((each) => each.at_ms > since), data]
    this.draw()
  }

  columns() {
    return [
      {
        name: 'Member',
        by: (each) => each.name,
        cell: (each) => [
          h('span', { class: 'mono' }, each.name),
          each.self && h('small', { class: 'soft' }, ' this node'),
        ],
      },
      {
        name: 'State',
        by: (each) => each.state,
        cell: (each) => [h('i', { class: `dot ${DOTS[each.state]}` }), each.state],
      },
      {
        name: 'Data',
        by: (each) => each.differs_by,
        cell: (each) => [each.same === false && h('i', { class: 'dot warn' }), dataOf(each)],
      },
      {
        name: 'Which keys',
        cell: (each) =>
          !each.self &&
          each.state !== 'dead' &&
          each.state !== 'left' &&
          h(
            'a',
            { href: `#convergence?member=${encodeURIComponent(each.name)}` },
            each.same ? 'compare' : 'show them',
          ),
      },
      {
        name: 'Keys',
        number: true,
        by: (each) => each.said?.keys,
        cell: (each) => number(each.said?.keys),
      },
      {
        name: 'Last exchange with this node',
        cell: (each) =>
          lastWith(this.exchanges, each.name) ?? h('span', { class: 'soft' }, 'none in 5 min'),
      },
      { name: 'Asked', number: true, by: (each) => each.age_s, cell: (each) => ago(each.age_s) },
    ]
  }

  draw() {
    const seen = this.view.cluster(),
      last = this.exchanges.at(-1)
    const plots = this.series ? this.plots.map((plot) => plot.draw(this.series)) : []
    this.view.draw(
      h('div', { key: 'first', class: 'plots' }, plots.slice(0, 2)),
      h(
        'section',
        { class: 'panel' },
        h(
          'h2',
          {},
          'Exchanges',
          h(
            'small',
            {},
            'last 5 minutes; width is time, height bytes; hollow: nothing differed; dashed: cut',
          ),
        ),
        drawExchanges(this.exchanges, Date.now()),
        last &&
          h(
            'p',
            { class: 'soft' },
            'The last one: ',
            wordsOf(last),
            this.missed > 0 && `; ${count(this.missed, 'event was', 'events were')} missed`,
          ),
      ),
      seen && this.drawMembers(seen),
      this.differences.draw(seen),
      h('div', { key: 'others', class: 'plots' }, plots.slice(2)),
      this.series?.points === 0 && h('p', { class: 'empty' }, 'The first points come after 10 s.'),
    )
  }

  // Those that differ, and the others as one line until somebody asks.
  drawMembers(seen) {
    const members = [...seen.members].sort(
      (a, b) => rank(a) - rank(b) || byName(a.name, b.name),
    )
    const same = members.filter((each) => each.same)
    const shown = this.all || same.length < FEW ? members : members.filter((each) => !each.same)
    const words = this.all
      ? 'Show those that differ'
      : `Show ${count(same.length, 'member')} with the same data`
    return h(
      'section',
      { class: 'panel' },
      h('h2', {}, `Who has what ${seen.asked} has`, h('small', {}, summary(seen))),
      shown.length > 0 && this.table.draw(shown),
      same.length >= FEW &&
        h(
          'button',
          { class: 'plain', 'aria-expanded': this.all, onclick: () => this.toggle() },
          words,
        ),
    )
  }

  toggle() {
    this.all = !this.all
    this.draw()
  }
}

const rank = (each) => (each.same === false ? 0 : each.same == null ? 1 : each.self ? 2 : 3)

function summary({ members, equal, at_ms: atMs }) {
  const other = members.filter((each) => each.same === false).length
  const unknown = members.filter((each) => each.same == null && each.state === 'alive').length
  const words = equal
    ? 'all members that can be reached have the same data'
    : [
        other && `${count(other, 'member')} ${other === 1 ? 'differs' : 'differ'}`,
        unknown && `${count(unknown, 'member')} did not tell`,
      ]
        .filter(Boolean)
        .join(', ')
  return `${words || 'not known'}, at ${clock(atMs)}`
}

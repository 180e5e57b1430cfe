// Cluster: what to look at first, then all members, on a map and as a table.

import { command, follow, path } from '../api.js'
import { h } from '../dom.js'
import { ago, ageOf, clock, count, duration, ms, number, signedMs } from '../format.js'
import { DOTS, drawMap } from '../map.js'
import { Table } from '../table.js'

export const title = 'Cluster'

const EVENTS_MAX = 8
const RANKS = { dead: 0, suspect: 1, alive: 3, left: 4 }
const GRAVE = new Set(['dead', 'unreachable', 'partition', 'two_clusters', 'clock_behind'])

export function open(view) {
  const page = new Cluster(view)
  page.go(view.query)
  return page
}

// What the finding's colour says: the words say the rest.
const dotOf = ({ code }) => `dot ${GRAVE.has(code) ? 'bad' : 'warn'}`

class Cluster {
  constructor(view) {
    Object.assign(this, { view, events: [], chosen: null, said: '' })
    this.table = new Table({
      label: 'Members', columns: COLUMNS, changed: () => this.draw(), key: (member) => member.name + member.pool,
      chosen: () => this.chosen, choose: (key) => this.choose(key),
    })
    follow('events?since=0', (event, data) => this.hear(event, data), view.signal)
  }

  go(query) {
    const name = query.get('member')
    const found = name && this.view.cluster()?.members.find((each) => each.name === name)
    if (found) this.chosen = found.name + found.pool
    this.draw()
  }

  hear(event, data) {
    if (event !== 'member' && event !== 'finding') return
    this.events = [{ event, ...data }, ...this.events].slice(0, EVENTS_MAX)
    this.draw()
  }

  choose(key) {
    this.chosen = this.chosen === key ? null : key
    this.draw()
  }

  async give(name, body, words) {
    try {
      await command(name, body)
      this.said = words
    } catch (error) {
      this.said = `${error.message}${error.hint ? `: ${error.hint}` : ''}`
    }
    this.draw()
  }

  draw() {
    const seen = this.view.cluster()
    if (!seen) return this.view.draw(h('p', { class: 'empty' }, 'The node is asked …'))
    this.view.draw(
      h('h1', { class: 'unseen' }, title),
      h('div', { class: 'tiles' }, tiles(seen)),
      h('div', { class: 'two' },
        h('section', { class: 'panel' }, h('h2', {}, 'Map', h('small', {}, 'by measured round trips')),
          drawMap(seen, (name) => this.choose(name + seen.members.find((each) => each.name === name).pool))),
        this.drawFindings(seen)),
      this.drawMember(seen),
      h('section', { class: 'panel' },
        h('h2', {}, 'Members', h('small', {}, `${count(seen.members.length, 'member')}, the ones to look at first`)),
        this.table.draw(ranked(seen.members))),
      this.drawEvents())
  }

  drawFindings({ findings, findings_age_s: age, partitions }) {
    return h('section', { class: 'panel', 'aria-live': 'polite' },
      h('h2', {}, 'What to look at', h('small', {}, age == null ? 'not examined yet' : `examined ${ago(age)}`)),
      partitions.map(drawPartition),
      findings.map((each) => h('div', { key: each.code + each.pool + each.members, class: 'find' },
        h('i', { class: dotOf(each) }), h('p', {}, each.text), each.command && h('code', {}, each.command))),
      !findings.length && !partitions.length && age != null &&
        h('p', { class: 'empty' }, 'Nothing. All members that answer see each other, and their clocks agree.'))
  }

  drawMember({ members, asked }) {
    const member = members.find((each) => each.name + each.pool === this.chosen)
    if (!member) return null
    const { said } = member
    return h('section', { key: 'member', class: 'panel', 'aria-label': `Member ${member.name}` },
      h('h2', { class: 'mono' }, member.name, h('small', {}, said ? `as it said ${ago(member.age_s)}` : 'it never said anything of itself')),
      h('dl', {}, Object.entries(facts(member)).filter(([, value]) => value).map(([name, value]) =>
        h('div', { key: name }, h('dt', {}, name), h('dd', {}, value)))),
      h('div', { class: 'line' },
        member.state === 'dead' && h('button', { onclick: () => this.give('force-leave', { name: member.name }, `${member.name} has left, for all.`) }, 'It will not come back (force-leave)'),
        !member.self && h('button', { onclick: () => this.give(member.blocked ? 'unblock' : 'block', { target: member.name }, member.blocked ? `${member.name} is heard again.` : `${asked} drops all of ${member.name}.`) },
          member.blocked ? 'Unblock' : `Block it on ${asked}`),
        h('span', { role: 'status' }, this.said)))
  }

  drawEvents() {
    if (!this.events.length) return null
    return h('section', { class: 'panel' }, h('h2', {}, 'What happened', h('small', {}, 'as this node saw it')),
      h('ol', { class: 'events' }, this.events.map((each) =>
        h('li', { key: `${each.at_ms} ${each.event} ${each.name ?? each.text}` },
          h('time', { title: ago(ageOf(each.at_ms)) }, clock(each.at_ms)), h('span', {}, wordsOf(each))))))
  }
}

function wordsOf(each) {
  if (each.event === 'finding') return `${each.change === 'came' ? 'found' : 'no longer so'}: ${each.text}`
  const by = each.accuser ? `, says ${each.accuser}` : ''
  return `${each.name} is ${each.state}${each.was ? ` (was ${each.was})` : ''}${by}`
}

function drawPartition({ says, groups, since_s: since }) {
  return h('div', { key: `partition ${says}`, class: 'find' }, h('i', { class: 'dot bad' }),
    h('p', {}, `${says} suspects a partition${since == null ? '' : ` for ${duration(since)}`}`,
      groups.map((group, index) => h('small', {}, index ? 'lost: ' : 'reached: ', h('b', {}, group.join(', ') || 'nobody')))))
}

const ranked = (members) => {
  const rank = (each) => RANKS[each.state] + (each.state === 'alive' && each.same === false ? -1 : 0) + (each.self ? 0.5 : 0)
  return [...members].sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1))
}

export function dataOf({ same, differs_by: keys, precision, unequal_s: since }) {
  if (same == null) return 'unknown'
  if (same) return 'same'
  const about = { exact: '', estimate: 'about ', at_least: 'at least ' }[precision] ?? ''
  const words = keys == null ? 'differs' : `${about}${count(keys, 'key')} ${keys === 1 ? 'differs' : 'differ'}`
  return since == null ? words : `${words}, for ${duration(since)}`
}

function tiles({ members, keys, age_s: age }) {
  const gone = members.filter((each) => each.state === 'dead'), lost = members.filter((each) => each.state === 'suspect')
  const there = members.filter((each) => each.state === 'alive')
  const reached = there.length + lost.length
  const same = members.filter((each) => each.same).length, other = members.filter((each) => each.same === false)
  const widest = (name) => there.reduce((most, each) => Math.abs(each[name] ?? 0) > Math.abs(most?.[name] ?? 0) ? each : most, null)
  const far = widest('rtt_ms'), skewed = widest('clock_offset_ms')
  const waiting = members.reduce((most, each) => (each.said?.tombstones_waiting ?? 0) > (most?.said?.tombstones_waiting ?? 0) ? each : most, null)
  const left = members.filter((each) => each.state !== 'left').length
  const tile = (name, value, of, words) => h('div', { key: name, class: 'tile' }, h('span', {}, name), h('strong', {}, value, of && h('small', {}, of)), h('em', {}, words))
  return [
    tile('Members', number(there.length), `of ${number(left)}`, [gone.length && `${number(gone.length)} dead`, lost.length && `${number(lost.length)} suspect`].filter(Boolean).join(', ') || `all alive, ${ago(age)}`),
    tile('Same data', number(same), `of ${number(reached)}`, other.length ? `${other[0].name}: ${dataOf(other[0])}` : `asked ${ago(age)}`),
    tile('Keys', number(keys), 'keys', `on this node, ${ago(age)}`),
    tile('Round trip', far ? ms(far.rtt_ms) : '–', null, far ? `to ${far.name}, the furthest` : 'not measured yet'),
    tile('Clocks', skewed ? signedMs(skewed.clock_offset_ms) : '–', null, skewed ? `${skewed.name}, the widest` : 'all as this one'),
    tile('Tombstones waiting', number(waiting?.said.tombstones_waiting ?? 0), null, waiting ? `on ${waiting.name}, for ${waiting.said.waits_for.slice(0, 2).join(', ') || 'a moment'}` : 'for nobody'),
  ]
}

const COLUMNS = [
  { name: 'Name', by: (each) => each.name, cell: (each) => [each.name, each.self && h('small', { class: 'soft' }, ' this node')] },
  { name: 'State', by: (each) => RANKS[each.state], cell: (each) => [h('i', { class: `dot ${DOTS[each.state]}` }), each.state, each.gateway && ', gateway', each.blocked && ', blocked'] },
  { name: 'Zone', by: (each) => `${each.datacenter}/${each.zone}`, cell: (each) => [each.datacenter, each.zone && ` / ${each.zone}`] },
  { name: 'Address', by: (each) => each.addresses[0], cell: (each) => h('span', { class: 'mono' }, each.addresses[0]) },
  { name: 'Round trip', number: true, by: (each) => each.rtt_ms ?? each.rtt_estimate_ms, cell: (each) => ms(each.rtt_ms ?? each.rtt_estimate_ms) },
  { name: 'Clock', number: true, by: (each) => each.clock_offset_ms, cell: (each) => signedMs(each.clock_offset_ms) },
  { name: 'Data', by: (each) => each.differs_by, cell: dataOf },
  { name: 'Version', by: (each) => each.said?.version, cell: (each) => h('span', { class: 'mono' }, each.said?.version ?? '–') },
  { name: 'Heard', number: true, by: (each) => each.age_s, cell: (each) => ago(each.age_s) },
]

function facts({ said, addresses, http, pool, zone, datacenter }) {
  const list = (names) => names?.join(', ')
  return {
    Place: `${datacenter}${zone ? ` / ${zone}` : ''}, ${pool} pool`, Addresses: list(addresses), HTTP: http,
    Standing: said?.standing, 'Not ready': said?.not_ready.map((each) => each.text).join('; '), Overload: said?.overload,
    Keys: said && count(said.keys, 'key'), Suspects: list(said?.suspects), Dead: list(said?.dead), 'Lost at once': list(said?.lost),
    'Keyring ids': said && (list(said.keyring) || 'no keyring'), Tokens: said?.tokens, Blocks: list(said?.blocked),
    'Tombstones waiting': said?.tombstones_waiting ? `${number(said.tombstones_waiting)}, for ${list(said.waits_for)}` : '',
    Quarantined: said?.quarantined ? count(said.quarantined, 'value') : '',
  }
}

// Cluster: what to look at first, then all members, on a map and as a table.

import { command, follow } from '../api.js'
import { h } from '../dom.js'
import { Findings } from '../findings.js'
import { ago, ageOf, clock, count, number } from '../format.js'
import { drawMap } from '../map.js'
import { COLUMNS, factsOf, ranked, tilesOf } from '../members.js'
import { Table } from '../table.js'

export const title = 'Cluster'

const EVENTS_MAX = 200
const LINES_MAX = 8

export function open(view) {
  const page = new Cluster(view)
  page.go(view.query)
  return page
}

class Cluster {
  constructor(view) {
    Object.assign(this, { view, events: [], chosen: null, said: '' })
    this.table = new Table({
      label: 'Members',
      columns: COLUMNS,
      changed: () => this.draw(),
      key: (member) => member.name + member.pool,
      chosen: () => this.chosen,
      choose: (key) => this.choose(key),
    })
    this.findings = new Findings(() => this.draw())
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
      h('div', { class: 'tiles' }, tilesOf(seen)),
      h(
        'div',
        { class: 'two' },
        h(
          'section',
          { class: 'panel' },
          h('h2', {}, 'Map', h('small', {}, 'by measured round trips')),
          drawMap(seen, (name) =>
            this.choose(name + seen.members.find((each) => each.name === name).pool),
          ),
        ),
        this.findings.draw(seen),
      ),
      this.drawMember(seen),
      h(
        'section',
        { class: 'panel' },
        h(
          'h2',
          {},
          'Members',
          h('small', {}, `${count(seen.members.length, 'member')}, the ones to look at first`),
        ),
        this.table.draw(ranked(seen.members)),
      ),
      this.drawEvents(),
    )
  }

  drawMember({ members, asked }) {
    const member = members.find((each) => each.name + each.pool === this.chosen)
    if (!member) return null
    const { said } = member
    return h(
      'section',
      { key: 'member', class: 'panel', 'aria-label': `Member ${member.name}` },
      h(
        'h2',
        { class: 'mono' },
        member.name,
        h(
          'small',
          {},
          said ? `as it said ${ago(member.age_s)}` : 'it never said anything of itself',
        ),
      ),
      h(
        'dl',
        {},
        Object.entries(factsOf(member))
          .filter(([, value]) => value)
          .map(([name, value]) => h('div', { key: name }, h('dt', {}, name), h('dd', {}, value))),
      ),
      h(
        'div',
        { class: 'line' },
        member.same === false &&
          h(
            'a',
            { href: `#convergence?member=${encodeURIComponent(member.name)}` },
            'Show which keys differ',
          ),
        member.state === 'dead' &&
          h(
            'button',
            {
              onclick: () =>
                this.give(
                  'force-leave',
                  { name: member.name },
                  `${member.name} has left, for all.`,
                ),
            },
            'It will not come back (force-leave)',
          ),
        !member.self &&
          h(
            'button',
            {
              onclick: () =>
                this.give(
                  member.blocked ? 'unblock' : 'block',
                  { target: member.name },
                  member.blocked
                    ? `${member.name} is heard again.`
                    : `${asked} drops all of ${member.name}.`,
                ),
            },
            member.blocked ? 'Unblock' : `Block it on ${asked}`,
          ),
        h('span', { role: 'status' }, this.said),
      ),
    )
  }

  drawEvents() {
    if (!this.events.length) return null
    return h(
      'section',
      { class: 'panel' },
      h('h2', {}, 'What happened', h('small', {}, 'as this node saw it')),
      h(
        'ol',
        { class: 'events' },
        folded(this.events)
          .slice(0, LINES_MAX)
          .map(([each, more]) =>
            h(
              'li',
              { key: `${each.at_ms} ${each.event} ${each.name ?? each.text}` },
              h('time', { title: ago(ageOf(each.at_ms)) }, clock(each.at_ms)),
              h(
                'span',
                {},
                wordsOf(each),
                more > 0 && h('small', { class: 'soft' }, ` and ${number(more)} more of these`),
              ),
            ),
          ),
      ),
    )
  }
}

// Findings of one kind that came or went one after the other, as one with the count of the others.
function folded(events) {
  const lines = []
  for (const each of events) {
    const last = lines.at(-1)
    const isLike = ['event', 'code', 'change'].every((name) => last?.[0][name] === each[name])
    if (each.event === 'finding' && isLike) last[1] += 1
    else lines.push([each, 0])
  }
  return lines
}

function wordsOf(each) {
  if (each.event === 'finding')
    return `${each.change === 'came' ? 'found' : 'no longer so'}: ${each.text}`
  const by = each.accuser ? `, says ${each.accuser}` : ''
  return `${each.name} is ${each.state}${each.was ? ` (was ${each.was})` : ''}${by}`
}

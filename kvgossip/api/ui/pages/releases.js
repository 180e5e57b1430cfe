// Releases: under each prefix that has some, who has applied which, who refused it and why, and
// what can be done.

import { command, every, json, keyPath, path } from '../api.js'
import { errorNote, h } from '../dom.js'
import { ago, ageOf, byName, clock, count } from '../format.js'
import { drawDiff } from '../keys/diff.js'
import { Table } from '../table.js'

export const title = 'Releases'

const LOOK_MS = 3000
const POINTER = '@active'
const LIMIT = 1000
const ROUNDS = 50
const STATES = { applied: '', refused: 'bad', waiting: 'warn', silent: 'gone', unused: 'gone' }
const RANKS = ['refused', 'waiting', 'silent', 'applied', 'unused']

export function open(view) {
  const page = new Releases(view)
  page.go(view.query)
  return page
}

class Releases {
  constructor(view) {
    Object.assign(this, {
      view,
      prefixes: [],
      prefix: null,
      found: null,
      error: null,
      said: '',
      difference: null,
      looked: 'looking for releases …',
    })
    this.table = new Table({
      label: 'Members',
      changed: () => this.draw(),
      key: (each) => each.node,
      columns: COLUMNS,
    })
    every(LOOK_MS, () => this.look(), view.signal)
    this.discover().catch((error) => {
      if (!view.signal.aborted) this.looked = error.message
      this.draw()
    })
  }

  go(query) {
    if (query.has('in')) this.prefix = query.get('in')
    this.look()
    this.draw()
  }

  // Pointers are keys like others; folders lead to them, since a prefix ends with a slash mostly.
  async discover() {
    const { signal } = this.view
    const folders = ['']
    for (let round = 0; folders.length && round < ROUNDS; round++) {
      const folder = folders.shift()
      const [pointers, inside] = await Promise.all([
        json(path('kv', { prefix: `${folder}${POINTER}`, limit: 1 }), { signal }),
        json(path('folders', { prefix: folder, limit: LIMIT }), { signal }),
      ])
      if (pointers.entries[0]?.key === `${folder}${POINTER}`) this.prefixes.push(folder)
      folders.push(...inside.folders.map((each) => each.prefix))
      this.draw()
    }
    this.looked = folders.length
      ? 'There may be more: write their prefix.'
      : this.prefixes.length
        ? ''
        : 'No folder has a release.'
    if (this.prefix === null && this.prefixes.length) this.show(this.prefixes[0])
    this.draw()
  }

  show(prefix) {
    location.hash = `releases?${new URLSearchParams({ in: prefix })}`
  }

  async look() {
    const { prefix } = this
    if (prefix === null) return
    try {
      const found = await json(keyPath('releases', prefix), { signal: this.view.signal })
      if (prefix === this.prefix) Object.assign(this, { found, error: null })
    } catch (error) {
      if (this.view.signal.aborted) return
      Object.assign(this, { found: null, error })
    }
    this.draw()
  }

  async act(step, name, words) {
    try {
      await command(path(keyPath('releases', this.prefix), { [step]: name }))
      this.said = words
    } catch (error) {
      this.said = `${error.message}${error.hint ? `: ${error.hint}` : ''}`
    }
    await this.look()
  }

  async compare(name) {
    if (this.difference?.name === name) this.difference = null
    else {
      const [one, other] = await Promise.all(
        [name, this.found.release].map((each) => this.document(each)),
      )
      this.difference = { name, one, other }
    }
    this.draw()
  }

  async document(name) {
    if (!name) return ''
    return JSON.stringify(await json(path(keyPath('releases', this.prefix), { name })), null, 2)
  }

  draw() {
    const { found } = this
    this.view.draw(
      h(
        'section',
        { class: 'panel' },
        h('h2', {}, 'Prefixes', h('small', {}, this.looked)),
        h(
          'div',
          { class: 'line' },
          this.prefixes.map((prefix) =>
            h(
              'button',
              {
                key: prefix,
                class: 'mono',
                'aria-pressed': prefix === this.prefix,
                onclick: () => this.show(prefix),
              },
              prefix || 'all keys',
            ),
          ),
          h(
            'form',
            { class: 'line', onsubmit: (event) => this.enter(event) },
            h('input', {
              name: 'prefix',
              class: 'mono',
              placeholder: 'another prefix',
              'aria-label': 'Another prefix',
            }),
            h('button', {}, 'Show'),
          ),
        ),
      ),
      this.error && errorNote(this.error),
      h('p', { key: 'said', role: 'status', class: this.said ? 'note' : 'unseen' }, this.said),
      found && (found.release || found.releases.length > 0) && this.drawFound(found),
    )
  }

  enter(event) {
    event.preventDefault()
    this.show(event.target.elements.prefix.value)
  }

  drawFound({ release, before, canary, by, at_ms: atMs, members, releases }) {
    const refused = members.filter((each) => each.state === 'refused')
    const used = members.filter((each) => each.state !== 'unused')
    return [
      h(
        'div',
        { class: 'tiles' },
        [
          [
            'For all',
            release || 'the loose keys',
            by && `by ${by}, ${clock(atMs)}, ${ago(ageOf(atMs))}`,
          ],
          [
            'Canary',
            canary ? canary.release : 'none',
            canary ? `for ${canary.to}` : 'nobody has another one',
          ],
          [
            'Applied',
            used.length
              ? `${used.filter((each) => each.state === 'applied').length} of ${used.length}`
              : '–',
            refused.length
              ? `${refused[0].node} refuses it`
              : used.length
                ? 'members with processes that use it'
                : 'no process uses this prefix',
          ],
        ].map(([name, value, words]) =>
          h(
            'div',
            { key: name, class: 'tile' },
            h('span', {}, name),
            h('strong', {}, value),
            h('em', {}, words),
          ),
        ),
      ),
      h(
        'section',
        { class: 'panel' },
        h('h2', {}, 'What to do'),
        h(
          'div',
          { class: 'line' },
          canary &&
            h(
              'button',
              {
                class: 'first',
                onclick: () => this.act('promote', canary.release, `${canary.release} is for all.`),
              },
              `Promote ${canary.release} to all`,
            ),
          (canary || before.length > 0) &&
            h(
              'button',
              { onclick: () => this.act('rollback', '', 'It was rolled back.') },
              canary
                ? `Roll back: ${release || 'the loose keys'} for all`
                : `Roll back to ${before[0] || 'the loose keys'}`,
            ),
          !canary &&
            !before.length &&
            h('p', { class: 'empty' }, 'There is nothing to promote, and nothing to go back to.'),
        ),
      ),
      h(
        'section',
        { class: 'panel' },
        h('h2', {}, 'Who has it', h('small', {}, 'asked as you look')),
        this.table.draw(inRank(members)),
      ),
      h(
        'section',
        { class: 'panel' },
        h(
          'h2',
          {},
          'All releases',
          h('small', {}, `${count(releases.length, 'release')} under ${this.prefix || 'all keys'}`),
        ),
        h(
          'ul',
          { class: 'plain' },
          releases.map((name) =>
            h(
              'li',
              { key: name },
              h(
                'div',
                { class: 'line' },
                h('code', {}, name),
                name === release ? 'for all' : name === canary?.release ? 'canary' : '',
                name !== release &&
                  h(
                    'button',
                    {
                      class: 'plain',
                      'aria-expanded': this.difference?.name === name,
                      onclick: () => this.compare(name),
                    },
                    'compare with the one for all',
                  ),
                name !== release &&
                  h(
                    'button',
                    {
                      class: 'plain',
                      onclick: () => this.act('rollback', name, `${name} is for all.`),
                    },
                    'go back to it',
                  ),
              ),
              this.difference?.name === name &&
                drawDiff(this.difference.one, this.difference.other),
            ),
          ),
        ),
      ),
    ]
  }
}

const inRank = (members) =>
  [...members].sort(
    (a, b) => RANKS.indexOf(a.state) - RANKS.indexOf(b.state) || byName(a.node, b.node),
  )

const COLUMNS = [
  {
    name: 'Member',
    by: (each) => each.node,
    cell: (each) => h('span', { class: 'mono' }, each.node),
  },
  {
    name: 'State',
    by: (each) => RANKS.indexOf(each.state),
    cell: (each) => [h('i', { class: `dot ${STATES[each.state]}` }), each.state],
  },
  {
    name: 'Is to have',
    by: (each) => each.release,
    cell: (each) => h('code', {}, each.release || 'the loose keys'),
  },
  { name: 'Why', long: true, cell: (each) => each.why },
]

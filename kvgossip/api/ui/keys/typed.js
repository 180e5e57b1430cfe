// A key whose writes are merged: a counter, a set, a map, a max or a min as what it is, with what
// can be done to it, and siblings side by side. Nothing is put over what others do meanwhile.

import { ask, keyPath } from '../api.js'
import { h } from '../dom.js'
import { textOf } from './bytes.js'

export const MERGED = ['counter', 'set', 'map', 'max', 'min']
const INTEGER = /^-?\d+$/
const NUMBER = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/

// Numbers as they are written: a counter may have more digits than a number of this page.
const read = (text) =>
  JSON.parse(text, (_, value, context) =>
    typeof value === 'number' ? { digits: context?.source ?? String(value) } : value,
  )
const scalarText = (value) => value?.digits ?? JSON.stringify(value)

// What was typed, as JSON: a number, true, false or null, and else a text.
const scalar = (text) =>
  NUMBER.test(text) || ['true', 'false', 'null'].includes(text) ? text : JSON.stringify(text)

// Bytes of one of several siblings.
const bytesOf = ({ value, base64 }) =>
  value === undefined
    ? Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0))
    : new TextEncoder().encode(value)

export const post = (key, body) => ask(keyPath('kv', key), { method: 'POST', body })

export class TypedValue {
  // `act(work)` does it, shows why it failed, and reads the key again.
  constructor(key, { kind, data, context }, { act }) {
    Object.assign(this, { key, kind, context, act, text: textOf(data) })
  }

  change(body) {
    return this.act(() => post(this.key, body))
  }

  // Instead of all siblings that are shown.
  keep(data, type) {
    const headers = { 'KV-Context': this.context }
    if (type) headers['Content-Type'] = type
    return this.act(() => ask(keyPath('kv', this.key), { method: 'PUT', headers, body: data }))
  }

  draw() {
    if (this.kind === 'siblings') return this.drawSiblings()
    if (this.kind === 'set') return this.drawSet()
    if (this.kind === 'map') return this.drawMap()
    return this.drawNumber()
  }

  drawNumber() {
    const verb = this.kind === 'counter' ? 'add' : this.kind
    const label = this.kind === 'counter' ? 'Add' : 'Put'
    return [
      h('pre', { class: 'number', 'aria-label': 'Value' }, this.text),
      form(
        label,
        [input('number', 'Number', { pattern: this.kind === 'counter' ? '-?[0-9]+' : null })],
        ({ number }) => {
          const text = number.value.trim()
          if ((this.kind === 'counter' ? INTEGER : NUMBER).test(text))
            return this.change(`{"${verb}":${text}}`)
        },
      ),
    ]
  }

  drawSet() {
    const elements = read(this.text)
    return [
      h(
        'ul',
        { class: 'elements', 'aria-label': 'Elements' },
        elements.map((each) =>
          h(
            'li',
            { key: each },
            h('span', { class: 'mono' }, each),
            taking(`Remove ${each}`, () => this.change(JSON.stringify({ remove: [each] }))),
          ),
        ),
      ),
      !elements.length && h('p', { class: 'empty' }, 'The set is empty.'),
      form('Add', [input('element', 'Element')], ({ element }) =>
        this.change(JSON.stringify({ add: [element.value] })),
      ),
    ]
  }

  drawMap() {
    const fields = Object.entries(read(this.text))
    return [
      h(
        'table',
        { class: 'fields', 'aria-label': 'Fields' },
        h(
          'tbody',
          {},
          fields.map(([field, value]) =>
            h(
              'tr',
              { key: field },
              h('th', { scope: 'row', class: 'mono' }, field),
              h(
                'td',
                { class: 'mono' },
                Array.isArray(value) ? value.join(', ') : scalarText(value),
              ),
              h(
                'td',
                {},
                taking(`Unset ${field}`, () => this.change(JSON.stringify({ unset: [field] }))),
              ),
            ),
          ),
        ),
      ),
      !fields.length && h('p', { class: 'empty' }, 'The map is empty.'),
      form(
        'Set',
        [
          input('field', 'Field'),
          input('content', 'Value', { placeholder: 'a text, a number, true, false, null' }),
        ],
        ({ field, content }) =>
          this.change(`{"set":{${JSON.stringify(field.value)}:${scalar(content.value)}}}`),
      ),
    ]
  }

  drawSiblings() {
    const { siblings } = JSON.parse(this.text)
    return [
      h(
        'p',
        { class: 'note' },
        h('b', {}, `${siblings.length} values: their writers did not know of each other.`),
        h('br'),
        'Keep one of them, or write one that has what each of them says.',
      ),
      h(
        'ul',
        { class: 'siblings', 'aria-label': 'Siblings' },
        siblings.map((each) => {
          const data = bytesOf(each)
          return h(
            'li',
            { key: each.version },
            h('pre', {}, textOf(data) ?? `${data.length} bytes that are no text`),
            h('small', { title: each.version }, each.writer ?? 'a writer that is unknown here', ' '),
            h('button', { onclick: () => this.keep(data, each.content_type) }, 'Keep this one'),
          )
        }),
      ),
      form(
        'Write it instead of these',
        [
          h(
            'label',
            { class: 'field' },
            'Value',
            h('textarea', { name: 'value', rows: 3, spellcheck: 'false', required: true }),
          ),
        ],
        ({ value }) => this.keep(value.value, siblings[0].content_type),
      ),
    ]
  }
}

const taking = (label, onclick) =>
  h('button', { class: 'plain', 'aria-label': label, title: label, onclick }, '✕')

const input = (name, label, options = {}) =>
  h('label', { class: 'field' }, label, h('input', { name, required: true, ...options }))

// Fields with one button; they are empty again once it has been done.
function form(label, fields, submit) {
  return h(
    'form',
    {
      class: 'editor',
      onsubmit: async (event) => {
        event.preventDefault()
        const made = event.target
        await submit(made.elements)
        made.reset()
      },
    },
    fields,
    h('div', { class: 'line' }, h('button', { class: 'first' }, label)),
  )
}

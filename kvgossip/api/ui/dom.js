// The document, as a function of what is known. A page describes all that it shows, as often as it
// likes; `render` changes what differs and nothing else. So values change in place, and focus, a
// selection and the place of a scroll stay. Text is only ever text: nothing here reads markup.

const HTML = 'http://www.w3.org/1999/xhtml'
const SVG = 'http://www.w3.org/2000/svg'
const DRAWN = Symbol('what was drawn into this node')

// A description of an element. Of `props`, `key` names it among its siblings, `ref` gets the node
// once it is made, functions are handlers of events, and all else are attributes. Children are
// descriptions, text, and lists of these; null and false hold a place, and show nothing.
export const h = (tag, props, ...children) => ({ tag, props: props ?? {}, children })

// Draws the descriptions into `parent`. Nodes that somebody else has put there stay.
export function render(parent, ...tree) {
  draw(parent, tree, parent.namespaceURI ?? HTML)
}

// All that is shown, each with a name that it keeps when others come and go beside it.
function* named(children, place = '') {
  for (const [index, each] of children.entries()) {
    if (Array.isArray(each)) yield* named(each, `${place}${index}.`)
    else if (each == null || each === false || each === '') continue
    else if (typeof each === 'object')
      yield [`${each.tag} ${each.props.key ?? `#${place}${index}`}`, each]
    else yield [`#${place}${index}`, each]
  }
}

function draw(parent, children, space) {
  const before = parent[DRAWN] ?? new Map()
  const drawn = new Map()
  let place = before.values().next().value?.node ?? null
  for (const [name, vnode] of named(children)) {
    const found = before.get(name)
    before.delete(name)
    const node = found ? found.node : make(vnode, space)
    if (found) change(node, found.vnode, vnode)
    if (node === place) place = place.nextSibling
    else parent.insertBefore(node, place)
    drawn.set(name, { node, vnode })
  }
  for (const { node } of before.values()) node.remove()
  parent[DRAWN] = drawn
}

// The words of an answer that is an error, with what to do; `forbidden`: where the token lacks the
// right.
export function errorNote(error, forbidden = error.hint) {
  return h(
    'p',
    { key: 'error', class: 'note bad', role: 'alert' },
    h('b', {}, error.message),
    h('br'),
    error.status === 403 ? forbidden : error.hint,
  )
}

function make(vnode, space) {
  if (typeof vnode !== 'object') return document.createTextNode(vnode)
  const own = vnode.tag === 'svg' ? SVG : space
  const node = document.createElementNS(own, vnode.tag)
  for (const [name, value] of Object.entries(vnode.props)) set(node, name, value)
  draw(node, vnode.children, own)
  vnode.props.ref?.(node)
  return node
}

function change(node, old, vnode) {
  if (typeof vnode !== 'object') {
    if (node.data !== String(vnode)) node.data = vnode
    return
  }
  for (const name of Object.keys(old.props)) if (!(name in vnode.props)) set(node, name, null)
  for (const [name, value] of Object.entries(vnode.props))
    if (value !== old.props[name]) set(node, name, value)
  draw(node, vnode.children, node.namespaceURI)
}

function set(node, name, value) {
  if (name === 'key' || name === 'ref') return
  if (name.startsWith('on')) node[name] = value
  else if (name === 'value' || name === 'checked' || name === 'open') node[name] = value ?? ''
  else if (name === 'style') for (const each in value) node.style.setProperty(each, value[each])
  else if (value == null || (value === false && !name.startsWith('aria-')))
    node.removeAttribute(name)
  else node.setAttribute(name, value === true && !name.startsWith('aria-') ? '' : value)
}

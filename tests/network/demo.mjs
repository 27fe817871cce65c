// A small world to try the program on: a real PDS with a few accounts, tracks and likes. It runs until Ctrl-C; each Enter makes
// one of the accounts like a track, or take the like back.

import { createInterface } from 'node:readline'
import { Network } from './network.mjs'

const now = () => new Date().toISOString()

class Account {
  static async create(network, name) {
    const account = new Account()
    account.network = network
    account.handle = `${name}.test`
    const body = { handle: account.handle, email: `${name}@example.test`, password: 'demo' }
    const session = await network.post('com.atproto.server.createAccount', body)
    account.did = session.did
    account.token = session.accessJwt
    return account
  }

  /** Creates a record; answers with the strongRef to it. */
  async create(collection, fields) {
    const record = { $type: collection, ...fields, createdAt: now() }
    const body = { repo: this.did, collection, record }
    const { uri, cid } = await this.network.post('com.atproto.repo.createRecord', body, this.token)
    return { uri, cid }
  }

  track(title) {
    return this.create('fm.plyr.track', { title, artist: this.handle, fileType: 'mp3', duration: 180 })
  }

  like(subject) {
    return this.create('fm.plyr.like', { subject })
  }

  async unlike({ uri }) {
    const [repo, collection, rkey] = uri.slice('at://'.length).split('/')
    await this.network.post('com.atproto.repo.deleteRecord', { repo, collection, rkey }, this.token)
  }
}

const network = await Network.create({ fast: true })
const end = async () => {
  await network.destroy()
  process.exit(0)
}
process.on('SIGINT', end)
process.on('SIGTERM', end)

const alice = await Account.create(network, 'alice')
const bob = await Account.create(network, 'bob')
const carol = await Account.create(network, 'carol')
const first = await alice.track('First light')
const second = await alice.track('Second thoughts')
await bob.like(second)
await carol.like(second)
await carol.create('fm.plyr.list', { listType: 'liked', name: 'Liked', items: [{ subject: second }] })

const source = network.url.replace('http', 'firehose+ws')
const question = `actor=${bob.did}&uris=${first.uri}&uris=${second.uri}`
console.log(`A PDS with alice.test, bob.test and carol.test is at ${network.url}. Follow it, in another terminal:

    PLYR_SOURCES=${source} PLYR_RELAY_URL=${network.url} PLYR_PLC_URL=${network.plcUrl} \\
        PLYR_ALLOW_PRIVATE_HOSTS=true PLYR_DATA_DIR=./data-demo-${new URL(network.url).port} make up

and ask whether bob likes alice's two tracks (the second: yes), and who likes the first (no one yet):

    curl 'http://127.0.0.1:8080/xrpc/fm.plyr.feed.getLikeStatuses?${question}'
    curl 'http://127.0.0.1:8080/xrpc/fm.plyr.feed.getTrackLikes?uri=${first.uri}'

Enter: bob likes the first track, or takes it back. Ctrl-C: the end.`)

let liked = null
for await (const _ of createInterface({ input: process.stdin })) {
  if (liked) {
    await bob.unlike(liked)
    liked = null
    console.log(`bob no longer likes ${first.uri}`)
  } else {
    liked = await bob.like(first)
    console.log(`bob likes ${first.uri}: ${liked.uri}`)
  }
}
// Without a terminal there is no Enter, but the PDS stays.

// Real networks on this machine: a PLC directory in memory and a PDS, made on demand in one process.
//
// As a program it reads commands from stdin and answers on stdout, both one JSON object per line, and ends with its stdin, so
// that a test run that dies leaves nothing behind. Commands run side by side; an answer names its command by `id`:
//
//   {"id":1,"do":"create","fast":true,"folder":null}
//       -> {"id":1,"ok":{"network":1,"pds":"http://127.0.0.1:20123","plc":"http://..","admin_password":".."}}
//   {"id":2,"do":"stop","network":1}       -> {"id":2,"ok":{}}         the PDS goes away; its repos and its port stay
//   {"id":3,"do":"start","network":1}      -> {"id":3,"ok":{}}         and is back
//   {"id":4,"do":"destroy","network":1}    -> {"id":4,"ok":{}}
//   anything that fails                    -> {"id":5,"error":"why"}
//
// `fast` makes the PDS look for new events every 5 ms instead of with a back-off of up to a second; it is for measuring
// freshness. `folder` is where the PDS keeps its files; without it they live in memory and are removed with the network.

import { createServer } from 'node:net'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { randomBytes, randomInt } from 'node:crypto'
import { tmpdir } from 'node:os'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { Database, PlcServer } from '@did-plc/server'
import { PDS, envToCfg, envToSecrets } from '@atproto/pds'

/** Event polls of a `fast` PDS. */
const FAST_POLL_MS = 5

/**
 * A free port below the range from which the system takes ports for outgoing connections, so that no process takes it while the
 * PDS is stopped.
 */
async function findPort() {
  for (let tries = 0; tries < 100; tries++) {
    const port = randomInt(20_000, 32_000)
    const free = await new Promise((resolve) => {
      const probe = createServer()
      probe.once('error', () => resolve(false))
      probe.listen(port, () => probe.close(() => resolve(true)))
    })
    if (free) return port
  }
  throw new Error('no free port between 20000 and 32000')
}

function makeFolder() {
  const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
  return mkdtempSync(`${parent}/plyr-network-`)
}

/** A PLC directory and a PDS. */
export class Network {
  #plc
  #pds = null
  #env
  #fast
  #isFolderOurs

  static async create({ fast = false, folder = null } = {}) {
    const network = new Network()
    network.#plc = PlcServer.create({ db: Database.mock(), port: 0 })
    const plcListener = await network.#plc.start()
    network.plcUrl = `http://127.0.0.1:${plcListener.address().port}`
    network.#fast = fast
    network.#isFolderOurs = folder === null
    network.folder = folder ?? makeFolder()
    network.port = await findPort()
    network.url = `http://127.0.0.1:${network.port}`
    network.adminPassword = randomBytes(16).toString('hex')
    mkdirSync(`${network.folder}/blobs`, { recursive: true })
    network.#env = {
      hostname: 'localhost',
      port: network.port,
      serviceDid: `did:web:localhost%3A${network.port}`,
      devMode: true,
      dataDirectory: network.folder,
      blobstoreDiskLocation: `${network.folder}/blobs`,
      didPlcUrl: network.plcUrl,
      inviteRequired: false,
      serviceHandleDomains: ['.test'],
      plcRotationKeyK256PrivateKeyHex: randomBytes(32).toString('hex'),
      jwtSecret: randomBytes(16).toString('hex'),
      dpopSecret: randomBytes(32).toString('hex'),
      adminPassword: network.adminPassword,
    }
    await network.start()
    return network
  }

  /** Starts the PDS on the repos and the port that it had. */
  async start() {
    if (this.#pds) throw new Error('the PDS is already running')
    const pds = await PDS.create(envToCfg(this.#env), envToSecrets(this.#env))
    if (this.#fast) {
      pds.ctx.sequencer.exponentialBackoff = () => new Promise((resolve) => setTimeout(resolve, FAST_POLL_MS))
    }
    await pds.start()
    this.#pds = pds
  }

  /** Stops the PDS; its connections are cut. */
  async stop() {
    const pds = this.#pds
    this.#pds = null
    await pds?.destroy()
  }

  async destroy() {
    await this.stop()
    await this.#plc.destroy()
    if (this.#isFolderOurs) rmSync(this.folder, { recursive: true, force: true })
  }

  /** Calls a procedure of the PDS, in the name of the account whose token it is. */
  async post(nsid, body, token) {
    const response = await fetch(`${this.url}/xrpc/${nsid}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
      body: JSON.stringify(body),
    })
    if (!response.ok) throw new Error(`${nsid}: ${response.status} ${await response.text()}`)
    return response.json()
  }
}

/** Answers commands until stdin ends. */
async function answerCommands() {
  const networks = new Map()
  const running = []
  let lastNumber = 0
  const find = (number) => {
    const network = networks.get(number)
    if (!network) throw new Error(`there is no network ${number}`)
    return network
  }
  const commands = {
    async create({ fast, folder }) {
      const network = await Network.create({ fast, folder })
      networks.set(++lastNumber, network)
      return {
        network: lastNumber,
        pds: network.url,
        plc: network.plcUrl,
        admin_password: network.adminPassword,
      }
    },
    stop: ({ network }) => find(network).stop(),
    start: ({ network }) => find(network).start(),
    async destroy({ network }) {
      const gone = find(network)
      networks.delete(network)
      await gone.destroy()
    },
  }
  const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`)
  const answer = async (line) => {
    const command = JSON.parse(line)
    try {
      if (!Object.hasOwn(commands, command.do)) throw new Error(`unknown command ${command.do}`)
      say({ id: command.id, ok: (await commands[command.do](command)) ?? {} })
    } catch (error) {
      say({ id: command.id, error: String(error?.stack ?? error) })
    }
  }
  const lines = createInterface({ input: process.stdin })
  process.on('SIGTERM', () => lines.close())
  // Ctrl-C reaches the whole terminal's group; the end of stdin, which follows, clears everything away.
  process.on('SIGINT', () => {})
  // The answers are not read any more once stdin has ended; the networks still want to be cleared away.
  process.stdout.on('error', () => {})
  for await (const line of lines) {
    running.push(answer(line))
  }
  await Promise.all(running)
  await Promise.allSettled([...networks.values()].map((network) => network.destroy()))
  process.exit(0)
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await answerCommands()
}

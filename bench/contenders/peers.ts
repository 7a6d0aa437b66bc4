/** Peers, loaded without their types: several type `request.session`, each in its own way. */
import { createRequire } from 'node:module'
import type { FastifyPluginCallback } from 'fastify'

const require = createRequire(import.meta.url)

/** What sessions of @fastify/session and express-session have in common. */
export interface PeerSession {
  visits?: number
  destroy(callback: (error?: Error) => void): void
}

export interface SecureSession {
  get(name: string): unknown
  set(name: string, value: unknown): void
  delete(): void
}

export type Store = object
type StoreClass = new (options: object) => Store

export const fastifyCookie: FastifyPluginCallback<Record<string, unknown>> = require('@fastify/cookie')
export const fastifySession: FastifyPluginCallback<Record<string, unknown>> = require('@fastify/session')
export const secureSession: FastifyPluginCallback<Record<string, unknown>> = require('@fastify/secure-session')
export const express = require('express')
export const expressSession = require('express-session')
export const PgSimple: StoreClass = require('connect-pg-simple')(expressSession)
export const SessionKnex: StoreClass = require('connect-session-knex').ConnectSessionKnexStore

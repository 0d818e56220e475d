variable "project" {
  description = "The Google Cloud project that everything is made in."
  type        = string
}

variable "region" {
  description = "Where the pool and its database run. Keep them together: every job costs a few round trips."
  type        = string
}

variable "image" {
  description = "The worker's image with your handlers, by digest or by a tag that never moves."
  type        = string
}

variable "name" {
  description = "What the worker pool, the database and the accounts are called."
  type        = string
  default     = "headcount"
}

variable "subnetwork" {
  description = "A subnetwork (/26 or larger) for private connections, or null for the public way with TLS."
  type        = string
  default     = null
}

variable "private_network" {
  description = "The VPC that the database gets its private address in; needs subnetwork. null: a public address, closed."
  type        = string
  default     = null
}

variable "instances" {
  description = "How many instances the pool starts with. Afterwards it belongs to whatever scales it."
  type        = number
  default     = 2
}

variable "max_instances" {
  description = "The most that the autoscaler may ask for. Four connections each, twice in a rollout."
  type        = number
  default     = 8
}

variable "slots" {
  description = "How many jobs an instance runs at the same time."
  type        = number
  default     = 100
}

variable "cpu" {
  description = "vCPUs of the worker container."
  type        = string
  default     = "1"
}

variable "memory" {
  description = "Memory of the worker container: 200 MiB for itself, the rest for the slots."
  type        = string
  default     = "2Gi"
}

variable "settings" {
  description = "More settings of the worker: HEADCOUNT_* variables, and whatever the handlers read."
  type        = map(string)
  default     = {}
}

variable "handler_secrets" {
  description = "Secrets that handlers need: variable name to secret id in this project (version `latest` at start)."
  type        = map(string)
  default     = {}
}

variable "jobs_filter" {
  description = "A filter on attributes.job_name for a pool that runs only some jobs. It can't be changed later."
  type        = string
  default     = ""
}

variable "database_version" {
  description = "Cloud SQL's name of the PostgreSQL version: 15 or newer."
  type        = string
  default     = "POSTGRES_17"
}

variable "database_tier" {
  description = "The machine of the database. Small shared-core tiers allow 25 to 50 connections only."
  type        = string
  default     = "db-custom-2-7680"
}

variable "database_max_connections" {
  description = "max_connections of the database; `headcount doctor --instances N` says what is needed."
  type        = number
  default     = 200
}

variable "autoscaler" {
  description = "Whether to run the autoscaler (an always-on service, see deploy/autoscaling)."
  type        = bool
  default     = false
}

variable "notification_channels" {
  description = "Ids of the channels that are told of an alert with severity page."
  type        = list(string)
  default     = []
}

variable "deletion_protection" {
  description = "Whether the database and the pool are protected from being destroyed."
  type        = bool
  default     = true
}

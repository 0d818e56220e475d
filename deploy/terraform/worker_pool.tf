# Three containers: the database's proxy, the worker, and the collector that scrapes it. SIGTERM reaches all of them at
# once, 10 s before the end: the proxy goes on for 9 s, so that the worker can store what it interrupts.

locals {
  environments = {
    for name, pool in local.pools : name => merge({
      HEADCOUNT_DATABASE_URL             = local.database_url
      HEADCOUNT_DEAD_LETTER_SUBSCRIPTION = google_pubsub_subscription.dead.name
      HEADCOUNT_DEAD_LETTER_TOPIC        = google_pubsub_topic.all["dead"].name
      HEADCOUNT_EVENTS_TOPIC             = google_pubsub_topic.all["events"].name
      HEADCOUNT_HTTP_PORT                = "9090"
      HEADCOUNT_JOBS_SUBSCRIPTION        = google_pubsub_subscription.jobs[name].name
      HEADCOUNT_JOBS_TOPIC               = google_pubsub_topic.all["jobs"].name
      HEADCOUNT_POOL                     = name
      HEADCOUNT_PROJECT                  = var.project
      HEADCOUNT_SLOTS                    = tostring(pool.slots)
    }, pool.settings)
  }
}

resource "google_cloud_run_v2_worker_pool" "worker" {
  for_each = local.pools

  project  = var.project
  name     = each.key
  location = var.region

  # A pool holds nothing. Protected, one whose first revision did not start could be neither fixed nor replaced.
  deletion_protection = false

  scaling {
    manual_instance_count = each.value.instances
  }

  instance_splits {
    type    = "INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST"
    percent = 100
  }

  template {
    service_account = google_service_account.worker.email

    dynamic "vpc_access" {
      for_each = var.subnetwork == null ? [] : [var.subnetwork]
      content {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          subnetwork = vpc_access.value
        }
      }
    }

    containers {
      name       = "worker"
      image      = each.value.image
      depends_on = ["database"]

      resources {
        limits = {
          cpu    = each.value.cpu
          memory = each.value.memory
        }
      }

      dynamic "env" {
        for_each = local.environments[each.key]
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.handler_secrets
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }

      startup_probe {
        period_seconds    = 5
        timeout_seconds   = 2
        failure_threshold = 24
        http_get {
          path = "/startupz"
          port = 9090
        }
      }

      # It fails only when the event loop is stuck: Cloud Run kills at once on it, without a drain.
      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 5
        failure_threshold = 3
        http_get {
          path = "/livez"
          port = 9090
        }
      }
    }

    containers {
      name  = "database"
      image = "gcr.io/cloud-sql-connectors/cloud-sql-proxy:2.18.0"
      args = concat([
        "--auto-iam-authn",
        "--health-check",
        "--http-address=0.0.0.0",
        "--http-port=9801",
        "--min-sigterm-delay=9s",
        "--structured-logs",
      ], var.private_network == null ? [] : ["--private-ip"], [google_sql_database_instance.headcount.connection_name])

      resources {
        limits = {
          cpu    = "0.5"
          memory = "512Mi"
        }
      }

      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 1
        failure_threshold = 60
        http_get {
          path = "/startup"
          port = 9801
        }
      }
    }

    containers {
      name       = "collector"
      image      = "us-docker.pkg.dev/cloud-ops-agents-artifacts/google-cloud-opentelemetry-collector/otelcol-google:0.156.0"
      args       = ["--config=env:COLLECTOR_CONFIG"]
      depends_on = ["worker"]

      resources {
        limits = {
          cpu    = "0.5"
          memory = "512Mi"
        }
      }

      env {
        name  = "COLLECTOR_CONFIG"
        value = file("${path.module}/../collector.yaml")
      }

      startup_probe {
        period_seconds    = 5
        timeout_seconds   = 2
        failure_threshold = 24
        http_get {
          path = "/"
          port = 13133
        }
      }
    }
  }

  # The instance count belongs to the autoscaler, or to whoever is on duty.
  lifecycle {
    ignore_changes = [scaling]
  }

  # A worker refuses to start on a database that is not migrated, or that it has no rights in.
  depends_on = [
    google_cloud_run_v2_job.first_migration,
    google_project_iam_member.worker,
    google_pubsub_subscription_iam_member.worker_looks,
    google_pubsub_subscription_iam_member.worker_pulls,
    google_pubsub_topic_iam_member.worker_publishes,
    google_secret_manager_secret_iam_member.worker_reads_handler_secrets,
    google_sql_user.worker,
  ]
}

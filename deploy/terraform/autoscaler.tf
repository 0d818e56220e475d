# CREMA: a service that reads the backlog and sets the pools' instance counts. See deploy/autoscaling.

resource "google_service_account" "autoscaler" {
  count = var.autoscaler ? 1 : 0

  project      = var.project
  account_id   = "${var.name}-autoscaler"
  display_name = "Sets the instance counts of ${var.name}"
  depends_on   = [google_project_service.needed]
}

resource "google_cloud_run_v2_worker_pool_iam_member" "autoscaler_scales" {
  for_each = { for name, pool in google_cloud_run_v2_worker_pool.worker : name => pool if var.autoscaler }

  project  = var.project
  location = var.region
  name     = each.value.name
  role     = "roles/run.developer"
  member   = google_service_account.autoscaler[0].member
}

# Changing the pool's count means deploying in the worker's name.
resource "google_service_account_iam_member" "autoscaler_acts_as_the_worker" {
  count = var.autoscaler ? 1 : 0

  service_account_id = google_service_account.worker.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.autoscaler[0].member
}

resource "google_project_iam_member" "autoscaler" {
  for_each = toset(var.autoscaler ? [
    "roles/logging.logWriter",
    "roles/monitoring.viewer",
    "roles/parametermanager.parameterViewer",
  ] : [])

  project = var.project
  role    = each.value
  member  = google_service_account.autoscaler[0].member
}

resource "google_parameter_manager_parameter" "crema" {
  count = var.autoscaler ? 1 : 0

  project      = var.project
  parameter_id = "${var.name}-autoscaler"
  format       = "YAML"
  depends_on   = [google_project_service.needed]
}

resource "google_parameter_manager_parameter_version" "crema" {
  count = var.autoscaler ? 1 : 0

  parameter            = google_parameter_manager_parameter.crema[0].id
  parameter_version_id = "v-${substr(sha256(local.crema), 0, 12)}"
  parameter_data       = local.crema
}

resource "google_cloud_run_v2_service" "autoscaler" {
  count = var.autoscaler ? 1 : 0

  project             = var.project
  name                = "${var.name}-autoscaler"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  deletion_protection = false
  depends_on          = [google_project_iam_member.autoscaler]

  scaling {
    min_instance_count = 1
    max_instance_count = 1
  }

  template {
    service_account = google_service_account.autoscaler[0].email

    containers {
      # The image holds a Java program and no Java: Cloud Run puts it on this base, and renews that by itself.
      base_image_uri = "${var.region}-docker.pkg.dev/serverless-runtimes/google-24/runtimes/java25"

      image = "us-central1-docker.pkg.dev/cloud-run-oss-images/crema-v1/autoscaler:1.2"

      env {
        name  = "CREMA_CONFIG"
        value = google_parameter_manager_parameter_version.crema[0].name
      }

      env {
        name  = "ENABLE_CLOUD_LOGGING"
        value = "true"
      }

      resources {
        limits = {
          cpu    = "1"
          memory = "1Gi"
        }
        cpu_idle = false
      }
    }
  }
}

#!/bin/bash
# Stand-ins for the functions and variables of devstack that the plugin uses. They take the same
# arguments; files are written below $PLACE, and whatever would be run is written to $PLACE/done.

DEST=$PLACE/dest
DATA_DIR=$PLACE/data
STACK_USER=$(id -un)
SERVICE_HOST=127.0.0.1
SERVICE_PROTOCOL=http
SERVICE_PASSWORD=pw
SERVICE_DOMAIN_NAME=Default
SERVICE_PROJECT_NAME=service
SERVICE_TIMEOUT=60
REGION_NAME=RegionOne
KEYSTONE_SERVICE_URI=http://127.0.0.1/identity
ENABLE_DEBUG_LOG_LEVEL=True
NOVA_NUM_CELLS=${NOVA_NUM_CELLS:-1}
NOVA_CONF_DIR=$PLACE/nova
NOVA_CONF=$NOVA_CONF_DIR/nova.conf
NOVA_UWSGI_CONF=$NOVA_CONF_DIR/nova-api-uwsgi.ini
MEMCACHE_SERVERS=localhost:11211
SYNERGY_DIR=$(dirname "$PLUGIN")
SYNERGY_CONF_DIR=$PLACE/etc

note() { echo "$*" >> "$PLACE/done"; }

die() {
    echo "[ERROR] line $1: ${*:2}" >&2
    exit 1
}

define_plugin() { :; }
echo_summary() { :; }
trueorfalse() {
    local value=${!2:-$1}
    case "$value" in
        1 | [Tt]rue) echo True ;;
        *) echo False ;;
    esac
}

enable_service() {
    if [[ -z "$DISABLED" ]]; then
        ENABLED_SERVICES+=",$(tr ' ' ',' <<< "$*")"
    fi
}

is_service_enabled() {
    local service
    for service in "$@"; do
        if [[ ,$ENABLED_SERVICES, == *",$service,"* ]]; then
            return 0
        fi
        if type "is_${service//-/_}_enabled" > /dev/null 2>&1; then
            "is_${service//-/_}_enabled" && return 0
        fi
    done
    return 1
}

# Later lines of a section replace earlier ones: who reads the file merges them.
iniset() {
    mkdir -p "$(dirname "$1")"
    printf '[%s]\n%s = %s\n' "$2" "$3" "$4" >> "$1"
}

sudo() {
    case "$1" in
        rabbitmqctl)
            note "$*"
            if [[ "$*" == *list_vhosts* && -e "$PLACE/vhost" ]]; then
                cat "$PLACE/vhost"
            elif [[ "$*" == *delete_vhost* ]]; then
                rm -f "$PLACE/vhost"
            fi
            ;;
        *) "$@" ;;
    esac
}

rpc_backend_add_vhost() {
    note "add vhost $1"
    echo "$1" > "$PLACE/vhost"
}

get_transport_url() { echo "rabbit://stackrabbit:pw@127.0.0.1:5672/$1"; }
get_notification_url() { echo "rabbit://stackrabbit:pw@127.0.0.1:5672/$1"; }
database_connection_url() { echo "mysql+pymysql://root:pw@127.0.0.1/$1?charset=utf8"; }
recreate_database() { note "recreate database $1"; }
conductor_conf() { echo "$NOVA_CONF_DIR/nova_cell$1.conf"; }

configure_keystoneauth() {
    iniset "$1" "$3" auth_type password
    iniset "$1" "$3" interface public
    iniset "$1" "$3" auth_url "$KEYSTONE_SERVICE_URI"
    iniset "$1" "$3" username "$2"
    iniset "$1" "$3" password "$SERVICE_PASSWORD"
    iniset "$1" "$3" user_domain_name "$SERVICE_DOMAIN_NAME"
    iniset "$1" "$3" project_name "$SERVICE_PROJECT_NAME"
    iniset "$1" "$3" project_domain_name "$SERVICE_DOMAIN_NAME"
}

configure_keystone_authtoken_middleware() {
    configure_keystoneauth "$1" "$2" keystone_authtoken
    iniset "$1" keystone_authtoken www_authenticate_uri "$KEYSTONE_SERVICE_URI"
    iniset "$1" keystone_authtoken memcached_servers "$MEMCACHE_SERVERS"
}

create_service_user() { note "user $*"; }
get_or_create_service() { note "service $*"; }
get_or_create_endpoint() { note "endpoint $*"; }

write_uwsgi_config() {
    rm -f "$1"
    iniset "$1" uwsgi module "$2"
    note "uwsgi $*"
}
remove_uwsgi_config() { rm -f "$1"; }

setup_develop() { note "install $1"; }
get_python_exec_prefix() { echo "$PLACE/bin"; }
run_process() { note "run_process $*"; }
stop_process() { note "stop_process $*"; }
wait_for_service() { note "wait service $*"; }
start_nova_api() { note "start_nova api"; }

# The programs of Synergy and uwsgi are run by their paths.
mkdir -p "$PLACE/bin"
# shellcheck disable=SC2016 # the program that is written expands them
for program in synergy synergy-manage uwsgi; do
    printf '#!/bin/bash\necho "%s $*" >> "%s/done"\nif [[ "${*: -1}" == doctor && -e "%s/ill" ]]; then exit 1; fi\n' \
        "$program" "$PLACE" "$PLACE" > "$PLACE/bin/$program"
    chmod +x "$PLACE/bin/$program"
done
PATH=$PLACE/bin:$PATH
iniset "$NOVA_CONF" wsgi api_paste_config "$NOVA_CONF_DIR/api-paste.ini"
iniset "$NOVA_UWSGI_CONF" uwsgi module nova.wsgi.osapi_compute:application

{{ derived_index('device__devices', 'device__device_type', ['STATIC']) }}

create table if not exists jobs (
    id serial primary key,
    text text not null,
    result text
);
